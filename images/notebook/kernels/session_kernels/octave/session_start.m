## How a session's Octave is set up; then it waits for cells at its prompt, which nobody sees.
function session_start ()
  PS1 ("");
  PS2 ("");
  more off;
  crash_dumps_octave_core (false);
  warning ("off", "Octave:gnuplot-graphics");
  warning ("off", "Octave:shadowed-function");
  addpath (fullfile (fileparts (mfilename ("fullpath")), "instead"));
  graphics_toolkit ("gnuplot");
  set (0, "defaultfigurevisible", "off");
  session_send ("ready", "");
endfunction
