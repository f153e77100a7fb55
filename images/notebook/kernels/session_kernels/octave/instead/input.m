## input (PROMPT), input (PROMPT, "s"): asks the person, through the kernel.
function varargout = input (prompt, kind)
  persistent in = fopen (["/proc/self/fd/" getenv("KERNEL_IN")], "r");
  printf ("%s", prompt);
  session_send ("input", "");
  answer = "";
  while ((c = fread (in, 1, "uint8=>char")) != "\0")
    answer(end+1) = c;
  endwhile
  [word, line] = strtok (answer, "\n");
  if (! strcmp (word, "line"))
    error ("input: nobody can be asked here");
  endif
  line = line(2:end);
  if (nargin > 1)
    varargout{1} = line;
  else
    [varargout{1:max (nargout, 1)}] = evalin ("base", line);
  endif
endfunction
