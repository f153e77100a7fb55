"""jupyter_kernel_test against the kernels of a session: its samples, and what is known to differ.

It has been written for kernels that run beside it; here its client is the session's websocket. Its
test of iopub_welcome is not run: the server subscribes to a kernel, and not its clients.
"""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

from jupyter_kernel_test import KernelTests
from jupyter_kernel_test.msgspec_v5 import validate_message

from tests.kernels.channels import WAIT_S, Channels

CHECKS = sorted(name for name in dir(KernelTests) if name.startswith("test_"))

SAMPLES: dict[str, dict[str, Any]] = {
    "python3": {
        "language_name": "python",
        "file_extension": ".py",
        "code_hello_world": "print('hello, world')",
        "code_stderr": "import sys; print('oops', file=sys.stderr)",
        "completion_samples": [{"text": "zi", "matches": {"zip"}}],
        "complete_code_samples": ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n"],
        "incomplete_code_samples": ["print('''hello", "def f(x):\n  x*2"],
        "invalid_code_samples": ["import = 7q"],
        "code_page_something": "zip?",
        "code_generate_error": "raise ValueError('x')",
        "code_execute_result": [
            {"code": "1+2+3", "result": "6"},
            {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
            {"code": "'1' + '2'", "result": "'12'"},
        ],
        "code_display_data": [
            {
                "code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))",
                "mime": "text/html",
            }
        ],
        "code_history_pattern": "1?2*",
        "supported_history_operations": ("tail", "search"),
        "code_inspect_sample": "zip",
        "code_clear_output": "from IPython.display import clear_output; clear_output()",
    },
    "bash": {
        "language_name": "bash",
        "file_extension": ".sh",
        "code_hello_world": "echo hello, world",
        "code_stderr": "echo oops >&2",
        "completion_samples": [
            {"text": "ech", "matches": {"echo"}},
            {"text": "echo $KERNEL_TEST_NOTHI", "matches": set()},
        ],
        "complete_code_samples": ["echo a", "for i in 1 2; do echo $i; done", "cat <<E\nx\nE"],
        "incomplete_code_samples": ["for i in 1 2; do", "echo 'a", "if true; then"],
        "invalid_code_samples": ["done", "echo )"],
        "code_generate_error": "false",
        "code_display_data": [{"code": "displayHTML <<< '<b>x</b>'", "mime": "text/html"}],
        "code_inspect_sample": "echo",
    },
    "c": {
        "language_name": "c",
        "file_extension": ".c",
        "code_hello_world": '#include <stdio.h>\nputs("hello, world");',
        "code_stderr": '#include <stdio.h>\nfputs("oops", stderr);',
        "completion_samples": [
            {"text": "retur", "matches": {"return"}},
            {"text": "#include <stdio.h>\nprintf_nothing", "matches": set()},
        ],
        "complete_code_samples": ["int x;", "int f(void) { return 1; }", "#define X 1"],
        "incomplete_code_samples": ["int f(void) {", "int x = (1"],
        "code_generate_error": "return nope;",
        "code_inspect_sample": "#include <stdio.h>\nprintf",
    },
    "xcpp17": {
        "language_name": "c++",
        "file_extension": ".cpp",
        "code_hello_world": 'std::cout << "hello, world" << std::endl;',
        "code_stderr": 'std::cerr << "oops" << std::endl;',
        "completion_samples": [{"text": "std::unordered_ma", "matches": {"unordered_map"}}],
        "complete_code_samples": ["int x = 1;", "int f() { return 1; }", "6 * 7"],
        "incomplete_code_samples": ["int f() {", "int x = (1"],
        "code_generate_error": 'throw std::runtime_error("x");',
        "code_execute_result": [
            {"code": "6 * 7", "result": "42"},
            {"code": 'std::string("a") + "b"', "result": '"ab"'},
        ],
        "supported_history_operations": ("tail",),
        "code_inspect_sample": "std::vector",
    },
    "java": {
        "language_name": "java",
        "file_extension": ".java",
        "code_hello_world": 'System.out.println("hello, world");',
        "code_stderr": 'System.err.println("oops");',
        "completion_samples": [{"text": "System.currentT", "matches": {"currentTimeMillis()"}}],
        "complete_code_samples": ["int x = 1;", "void f() {}", "6 * 7"],
        "incomplete_code_samples": ["void f() {", "int x = (1"],
        "invalid_code_samples": ["int x = );"],
        "code_generate_error": 'throw new IllegalStateException("x");',
        "code_execute_result": [
            {"code": "6 * 7", "result": "42"},
            {"code": '"a" + 1', "result": '"a1"'},
        ],
        "supported_history_operations": ("tail",),
        "code_inspect_sample": "System.out.println",
    },
    "octave": {
        "language_name": "octave",
        "file_extension": ".m",
        "code_hello_world": "disp('hello, world')",
        "code_stderr": 'fputs(stderr, "oops\\n");',
        "completion_samples": [{"text": "acos", "matches": {"acos", "acosd", "acosh"}}],
        "complete_code_samples": ["x = 1", "for i = 1:3, disp(i), end"],
        "incomplete_code_samples": ["for i = 1:3", "if true\n  x = 1;"],
        "code_generate_error": "error('x')",
        "code_display_data": [{"code": "plot(1:3)", "mime": "image/png"}],
        "code_inspect_sample": "plot",
    },
    "ir": {
        "language_name": "R",
        "file_extension": ".r",
        "code_hello_world": 'cat("hello, world\\n")',
        "code_stderr": 'message("oops")',
        "completion_samples": [{"text": "zi", "matches": {"zip"}}],
        "complete_code_samples": ["1", "print('hello, world')", "f <- function(x) {\n  x*2\n}"],
        "incomplete_code_samples": ["print('hello, world'", "f <- function(x) {\n  x*2"],
        "invalid_code_samples": ["x <- )"],
        "code_page_something": "?cat",
        "code_generate_error": "stop('x')",
        "code_execute_result": [{"code": "1+2+3", "result": "[1] 6"}],
        "code_display_data": [
            {"code": "plot(1:3)", "mime": "image/png"},
            {"code": "IRdisplay::display_html('<b>x</b>')", "mime": "text/html"},
        ],
        "code_inspect_sample": "print",
        "code_clear_output": "IRdisplay::clear_output()",
    },
}

NO_PAGER = ("skipped: No code page something", "nothing of the language is shown in a pager")
NO_CLEAR = ("skipped: No code clear output", "the language has no function for it")
NO_VALUES = ("skipped: No code execute result", "the language prints, a cell has no value")
NO_HISTORY_ASKED = ("skipped: No code execute result", "the suite tries history with values only")
NO_HISTORY = (
    "failed: AssertionError: 0 != 2",
    "ipykernel's base class keeps none",
)
NO_DISPLAY = ("skipped: No code display data", "nothing in the language shows anything but text")
PINNED: dict[str, dict[str, tuple[str, str]]] = {
    "python3": {
        "test_history": (
            "skipped: History range not supported",
            "IPython tells of the running session as of session 0, the suite wants its number",
        ),
    },
    "bash": {
        "test_clear_output": NO_CLEAR,
        "test_execute_result": NO_VALUES,
        "test_history": NO_HISTORY_ASKED,
        "test_pager": NO_PAGER,
    },
    "c": {
        "test_clear_output": NO_CLEAR,
        "test_display_data": NO_DISPLAY,
        "test_execute_result": NO_VALUES,
        "test_history": NO_HISTORY_ASKED,
        "test_pager": NO_PAGER,
    },
    "xcpp17": {
        "test_clear_output": NO_CLEAR,
        "test_display_data": NO_DISPLAY,
        "test_history": NO_HISTORY,
        "test_pager": NO_PAGER,
    },
    "java": {
        "test_clear_output": NO_CLEAR,
        "test_display_data": NO_DISPLAY,
        "test_history": NO_HISTORY,
        "test_pager": NO_PAGER,
    },
    "octave": {
        "test_clear_output": NO_CLEAR,
        "test_execute_result": NO_VALUES,
        "test_history": NO_HISTORY_ASKED,
        "test_pager": NO_PAGER,
    },
    "ir": {
        "test_execute_result": (
            "failed: AssertionError: execute_result message not found",
            "IRkernel shows values as display_data",
        ),
        "test_history": ("skipped: History tail not supported", "IRkernel keeps no history"),
    },
}
"""What does not pass, by kernel and check: how it ends, and why."""

UNSEEN = {
    ("c", "/* a"): "incomplete",
    ("c", "int x = );"): "invalid",
    ("xcpp17", "/* a"): "incomplete",
    ("xcpp17", "int x = );"): "invalid",
    ("octave", "x = [1, 2"): "incomplete",
    ("octave", "x = )"): "invalid",
}
"""Cells that the kernel calls complete, and what they are: it counts what opens and closes."""


def outcome(channels: Channels, check: str) -> str:
    """How a check ends: "passed", or "failed: …", "skipped: …" with the first reason."""
    name = channels.kernel_name

    class Kernel(KernelTests):  # type: ignore[misc]
        """The suite, with a kernel that runs already."""

        kernel_name = name
        kc: ClassVar[Channels] = channels

        @classmethod
        def setUpClass(cls) -> None: ...

        @classmethod
        def tearDownClass(cls) -> None: ...

        def flush_channels(self) -> None:
            """Take what is left over: not by 0.1 s of silence, but up to an answer's end."""
            asked = self.kc.kernel_info()
            for channel in (self.kc.shell_channel, self.kc.iopub_channel):
                ended = False
                while not ended:
                    message = channel.get_msg(WAIT_S)
                    validate_message(message)
                    state = message["content"].get("execution_state", "idle")
                    ended = message["parent_header"].get("msg_id") == asked and state == "idle"

    for attribute, value in SAMPLES[name].items():
        setattr(Kernel, attribute, value)
    result = unittest.TestResult()
    # 15 s and 0.1 s in the suite
    channels.shell_channel.least = channels.iopub_channel.least = WAIT_S
    try:
        Kernel(check).run(result)
    finally:
        channels.shell_channel.least = channels.iopub_channel.least = 0
    for kind, found in (
        ("failed", [*result.errors, *result.failures]),
        ("skipped", result.skipped),
    ):
        if found:
            return f"{kind}: {found[0][1].strip().splitlines()[-1]}"
    return "passed"
