## Run a cell in the base workspace, show its figures, and tell the kernel how it went.
function session_run (code)
  try
    evalin ("base", code);
    session_figures ();
  catch failure
    session_send ("error", session_failure (failure));
    return;
  end_try_catch
  session_send ("ok", "");
endfunction

function text = session_failure (failure)
  name = failure.identifier;
  message = strtrim (failure.message);
  if (strncmp (message, "parse error", 11))
    name = "ParseError";
    shown = message;
    message = strtrim (strrep (message, "parse error:", ""));
  else
    shown = ["error: " message];
  endif
  if (isempty (name))
    name = "error";
  endif
  ## What stands below the cell is ours.
  for k = 1:numel (failure.stack)
    frame = failure.stack(k);
    if (strncmp (frame.name, "session_", 8) || any (strcmp (frame.name, {"evalin", "@<anonymous>"})))
      continue;
    endif
    shown = sprintf ("%s\n    at %s, line %d, column %d", shown, frame.name, frame.line, frame.column);
  endfor
  text = [name "\n" strtok(message, "\n") "\n" shown];
endfunction
