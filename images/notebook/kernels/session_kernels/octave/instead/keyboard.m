function keyboard (varargin)
  error ("keyboard: there is no prompt in a notebook");
endfunction
