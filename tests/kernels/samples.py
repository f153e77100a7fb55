"""What the tests type into the seven kernels, by kernel name."""

from __future__ import annotations

LINES = {
    "python3": "for i in range(20000): print('line', i)",
    "bash": "for ((i = 0; i < 20000; i++)); do echo line $i; done",
    "c": '#include <stdio.h>\nfor (int i = 0; i < 20000; i++) printf("line %d\\n", i);',
    "xcpp17": 'for (int i = 0; i < 20000; i++) std::cout << "line " << i << "\\n";',
    "java": 'for (int i = 0; i < 20000; i++) System.out.println("line " + i);',
    "octave": 'for i = 0:19999, printf("line %d\\n", i); end',
    "ir": 'for (i in 0:19999) cat("line ", i, "\\n", sep = "")',
}
# Says that it runs, and never ends.
LOOPS = {
    "python3": "print('running', flush=True)\nwhile True: pass",
    "bash": "echo running; while true; do sleep 1; done",
    "c": '#include <stdio.h>\nputs("running"); fflush(stdout); for (;;);',
    "xcpp17": 'std::cout << "running" << std::endl; volatile int i = 0; while (true) i++;',
    "java": 'System.out.println("running"); while (true) {}',
    "octave": "disp('running'); fflush(stdout);\nwhile true, end",
    "ir": 'cat("running\\n")\nrepeat {}',
}
# R is not among them: IRkernel shows what an expression prints when that has ended.
FLOODS = {
    "python3": "while True: print('flood')",
    "bash": "yes flood",
    "c": '#include <stdio.h>\nfor (;;) puts("flood");',
    "xcpp17": 'for (;;) std::cout << "flood\\n";',
    "java": 'while (true) System.out.println("flood");',
    "octave": "while true, disp('flood'), end",
}
FAILS = {
    "python3": ("1/0", "ZeroDivisionError"),
    "bash": ("false", "ExitStatus"),
    "c": ("return nope;", "CompileError"),
    "xcpp17": ("std::vector<int>{}.at(1);", "std::out_of_range"),
    "java": ("int x = 1 / 0;", "java.lang.ArithmeticException"),
    "octave": ("undefined_thing", "Octave:undefined-function"),
    "ir": ('stop("x")', "ERROR"),
}
HELLO = {
    "python3": "print('grüße 😀')",
    "bash": "echo 'grüße 😀'",
    "c": '#include <stdio.h>\nint main(void) { puts("grüße 😀"); }',
    "xcpp17": 'std::cout << "grüße 😀\\n";',
    "java": 'System.out.println("grüße 😀");',
    "octave": 'disp("grüße 😀")',
    "ir": 'cat("grüße 😀\\n")',
}
# End the process that the cell runs in; with a worker, the cell's answer tells.
CRASHES = {
    "python3": "import os; os.kill(os.getpid(), 11)",
    "bash": "kill -SEGV $$",
    "c": "*(volatile int *)0 = 1;",
    "xcpp17": "*(volatile int *)0 = 1;",
    "java": 'Runtime.getRuntime().exec(new String[]{"kill", "-SEGV",'
    ' "" + ProcessHandle.current().pid()}).waitFor(); while (true) {}',
    "octave": "kill(getpid(), 11)",
    "ir": "tools::pskill(Sys.getpid(), 11)",
}
EXITS = {
    "python3": "import os; os._exit(3)",
    "bash": "exit 3",
    "c": "#include <stdlib.h>\nexit(3);",
    "xcpp17": "exit(3);",
    "java": "System.exit(3);",
    "octave": "exit(3)",
    "ir": 'quit("no")',
}
OURS = ("bash", "c", "xcpp17", "java", "octave")
ASKS = {
    "python3": "print(input())",
    "bash": "read x; echo $x",
    "c": '#include <stdio.h>\nint main(void) { char x[9] = "-"; scanf("%8s", x); puts(x); }',
    "xcpp17": 'std::string x = "-"; std::cin >> x; std::cout << x << "\\n";',
    "java": 'var in = new Scanner(System.in); System.out.println(in.hasNext() ? in.next() : "-");',
    "octave": 'x = input("", "s"); disp(x)',
    "ir": 'x <- readline(); cat(x, "\\n", sep = "")',
}
COMPLETES = {
    "python3": ("import os; os.getl", "getlogin"),
    "bash": ("ech", "echo"),
    "c": ("#include <stdio.h>\npri", "printf"),
    "xcpp17": ("std::vec", "vector"),
    "java": ("System.out.printl", "println("),
    "octave": ("plo", "plot"),
    "ir": ("read.cs", "read.csv"),
}
PLOTS = {
    "python3": "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
    "octave": "plot(1:3); title('äöü')",
    "ir": "plot(1:3)",
}
