function session_complete (word)
  found = cellstr (completion_matches (word));
  session_send ("matches", strjoin (found(:)', "\n"));
endfunction
