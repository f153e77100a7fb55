## Show the figures that are open as PNG, and close them: the next cell begins with none.
function session_figures ()
  figures = flipud (get (0, "children"));
  for k = 1:numel (figures)
    file = [tempname() ".png"];
    unwind_protect
      if (! isempty (get (figures(k), "children")))
        set (0, "currentfigure", figures(k));
        drawnow ("pngcairo", file);
        png = fopen (file);
        data = fread (png, Inf, "uint8=>uint8");
        fclose (png);
        session_send ("display", ["image/png\n\n" matlab.net.base64encode(data')]);
      endif
    unwind_protect_cleanup
      close (figures(k));
      if (exist (file, "file"))
        unlink (file);
      endif
    end_unwind_protect
  endfor
endfunction
