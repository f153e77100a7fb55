function session_inspect (name)
  text = "";
  if (evalin ("base", ["exist (\"" name "\", \"var\")"]))
    text = evalin ("base", ["disp (" name ")"]);
    text = sprintf ("%s (%s)\n%s", name, evalin ("base", ["class (" name ")"]), text);
  elseif (exist (name))
    text = get_help_text (name);
  endif
  session_send ("text", text);
endfunction
