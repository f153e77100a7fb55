## The first thing that runs after an interrupt.
function session_stopped ()
  session_send ("stopped", "");
endfunction
