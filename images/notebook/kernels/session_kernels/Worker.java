import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import jdk.jshell.DeclarationSnippet;
import jdk.jshell.Diag;
import jdk.jshell.EvalException;
import jdk.jshell.ExpressionSnippet;
import jdk.jshell.JShell;
import jdk.jshell.Snippet;
import jdk.jshell.SnippetEvent;
import jdk.jshell.SourceCodeAnalysis;
import jdk.jshell.UnresolvedReferenceException;

/** Runs the cells of the Java kernel in the JDK's own JShell; worker.py has the other end of the frames. */
public class Worker {
    private static final String[] IMPORTS = {
        "java.io.*", "java.math.*", "java.net.*", "java.nio.file.*", "java.time.*", "java.util.*",
        "java.util.concurrent.*", "java.util.function.*", "java.util.regex.*", "java.util.stream.*",
    };

    private static final int FRAMES = 20;

    private final InputStream commands;
    private final OutputStream answers;
    private final PrintStream out = output(java.io.FileDescriptor.out);
    private final PrintStream err = output(java.io.FileDescriptor.err);
    private final JShell shell;
    /** Of each snippet: the number of its cell, and the line of that on which it begins. */
    private final Map<String, int[]> places = new HashMap<>();
    private int cellNumber;

    private Worker() throws IOException {
        commands = new FileInputStream("/proc/self/fd/" + System.getenv("KERNEL_IN"));
        answers = new FileOutputStream("/proc/self/fd/" + System.getenv("KERNEL_OUT"));
        System.setOut(out);
        System.setErr(err);
        System.setIn(new Answers());
        shell = JShell.builder().executionEngine("local").build();
        for (String name : IMPORTS) shell.eval("import " + name + ";");
    }

    public static void main(String[] arguments) throws Exception {
        Worker worker = new Worker();
        // An interrupt: cells run in the main thread, signals in one of their own.
        sun.misc.Signal.handle(new sun.misc.Signal("INT"), signal -> worker.shell.stop());
        Thread flusher = new Thread(worker::flushForEver);
        flusher.setDaemon(true);
        flusher.start();
        worker.send("ready", "");
        for (String[] frame; (frame = worker.receive()) != null; ) worker.serve(frame[0], frame[1]);
        Runtime.getRuntime().halt(0);
    }

    private void serve(String kind, String body) throws IOException {
        switch (kind) {
            case "run" -> {
                String[] parts = body.split("\n", 2);
                cellNumber = Integer.parseInt(parts[0]);
                String failure = run(parts[1]);
                flush();
                send(failure == null ? "ok" : "error", failure == null ? "" : failure);
            }
            case "complete" -> complete(body);
            case "inspect" -> inspect(body);
            case "check" -> send("status", status(body));
            default -> { }
        }
    }

    // --- Cells -------------------------------------------------------------------------------
    /** Run a cell, snippet by snippet; answer null, or the lines of an error. */
    private String run(String cell) throws IOException {
        SourceCodeAnalysis analysis = shell.sourceCodeAnalysis();
        String rest = cell;
        String value = null;
        while (!rest.isBlank()) {
            SourceCodeAnalysis.CompletionInfo info = analysis.analyzeCompletion(rest);
            String source = info.completeness().isComplete() ? info.source() : rest;
            int start = cell.length() - rest.length();
            value = null;
            List<SnippetEvent> events = shell.eval(source);
            for (SnippetEvent event : events) {
                int begin = Math.max(start, cell.indexOf(event.snippet().source(), start));
                while (begin < cell.length() && Character.isWhitespace(cell.charAt(begin))) begin++;
                if (event.causeSnippet() == null) {
                    places.put(event.snippet().id(), new int[] {cellNumber, line(cell, begin)});
                }
            }
            for (SnippetEvent event : events) {
                if (event.causeSnippet() != null) continue;
                if (event.exception() != null) return thrown(event.exception());
                if (event.status() == Snippet.Status.REJECTED) return rejected(event.snippet(), cell, start);
                warn(event.snippet(), cell, start);
                value = value(event);
            }
            rest = info.completeness().isComplete() ? info.remaining() : "";
        }
        flush();
        if (value != null) send("result", value);
        return null;
    }

    /** What a person sees of the cell's last snippet: the value of an expression, nothing of a declaration. */
    private static String value(SnippetEvent event) {
        Snippet snippet = event.snippet();
        boolean shown = snippet instanceof ExpressionSnippet
            || snippet.subKind() == Snippet.SubKind.TEMP_VAR_EXPRESSION_SUBKIND;
        return shown && event.value() != null && !event.value().isEmpty() ? event.value() : null;
    }

    /** A method that uses what is not there yet is fine until it is called: say so. */
    private void warn(Snippet snippet, String cell, int start) {
        Snippet.Status status = shell.status(snippet);
        if (status == Snippet.Status.RECOVERABLE_DEFINED || status == Snippet.Status.RECOVERABLE_NOT_DEFINED) {
            String missing = shell.unresolvedDependencies((DeclarationSnippet) snippet).collect(Collectors.joining(", "));
            err.println("line " + line(cell, start) + ": cannot be used until declared: " + missing);
        }
    }

    private String thrown(Throwable exception) {
        List<String> lines = new ArrayList<>();
        String name = name(exception);
        String message = exception.getMessage() == null ? "" : exception.getMessage();
        if (exception instanceof UnresolvedReferenceException unresolved) {
            name = "UnresolvedReference";
            message = "declare first: "
                + shell.unresolvedDependencies(unresolved.getSnippet()).collect(Collectors.joining(", "));
        }
        lines.add(name);
        lines.add(message.lines().findFirst().orElse(""));
        String before = "";
        for (Throwable cause = exception; cause != null; cause = cause.getCause()) {
            lines.add(before + name(cause) + ": " + (cause == exception ? message : cause.getMessage()));
            StackTraceElement[] trace = cause.getStackTrace();
            for (StackTraceElement element : List.of(trace).subList(0, Math.min(trace.length, FRAMES))) {
                lines.add("    at " + place(element));
            }
            if (trace.length > FRAMES) lines.add("    … and " + (trace.length - FRAMES) + " more");
            before = "Caused by: ";
        }
        return String.join("\n", lines);
    }

    /** Where in which cell: JShell tells the snippet and the line in that. */
    private String place(StackTraceElement element) {
        String file = element.getFileName();
        int[] place = file == null || !file.startsWith("#") ? null : places.get(file.substring(1));
        if (file == null || !file.startsWith("#")) return element.toString();
        String method = element.getMethodName();
        String where = place == null ? "this cell" : "cell " + place[0] + ", line " + (place[1] + element.getLineNumber() - 1);
        return method.isEmpty() || method.equals("do_it$") ? where : method + " (" + where + ")";
    }

    private static String name(Throwable exception) {
        return exception instanceof EvalException thrown ? thrown.getExceptionClassName() : exception.getClass().getName();
    }

    private String rejected(Snippet snippet, String cell, int start) {
        List<String> lines = new ArrayList<>();
        String first = null;
        for (Diag problem : shell.diagnostics(snippet).filter(Diag::isError).toList()) {
            String message = problem.getMessage(Locale.ENGLISH);
            if (first == null) first = message.lines().findFirst().orElse("");
            // Positions are those in the snippet, whose leading space JShell has cut.
            int offset = Math.max(0, cell.indexOf(snippet.source(), start));
            int position = (int) Math.min(cell.length(), offset + Math.max(0, problem.getPosition()));
            int begin = cell.lastIndexOf('\n', position - 1) + 1;
            int end = cell.indexOf('\n', position) < 0 ? cell.length() : cell.indexOf('\n', position);
            lines.add("line " + line(cell, position) + ": error: " + message.replace("\n", "\n    "));
            lines.add("    " + cell.substring(begin, end));
            lines.add("    " + cell.substring(begin, position).replaceAll("[^\t]", " ") + "^");
        }
        if (first == null) first = "this is no Java that JShell understands";
        lines.add(0, first);
        lines.add(0, "CompileError");
        return String.join("\n", lines);
    }

    private static int line(String text, int position) {
        return 1 + (int) text.substring(0, position).chars().filter(c -> c == '\n').count();
    }

    // --- Help --------------------------------------------------------------------------------
    private void complete(String body) throws IOException {
        String[] parts = body.split("\n", 2);
        String code = parts[1];
        int cursor = code.offsetByCodePoints(0, Math.min(Integer.parseInt(parts[0]), code.codePointCount(0, code.length())));
        // The suggestions belong to the last snippet before the cursor.
        int start = beginning(code.substring(0, cursor));
        int[] anchor = new int[1];
        String matches = shell.sourceCodeAnalysis()
            .completionSuggestions(code.substring(start, cursor), cursor - start, anchor).stream()
            .filter(SourceCodeAnalysis.Suggestion::matchesType).map(SourceCodeAnalysis.Suggestion::continuation)
            .distinct().sorted().collect(Collectors.joining("\n"));
        if (matches.isEmpty()) {
            matches = shell.sourceCodeAnalysis()
                .completionSuggestions(code.substring(start, cursor), cursor - start, anchor).stream()
                .map(SourceCodeAnalysis.Suggestion::continuation).distinct().sorted().collect(Collectors.joining("\n"));
        }
        int from = code.codePointCount(0, Math.min(cursor, start + anchor[0]));
        send("matches", from + "\n" + code.codePointCount(0, cursor) + "\n" + matches);
    }

    private void inspect(String body) throws IOException {
        String[] parts = body.split("\n", 2);
        String code = parts[1];
        int cursor = code.offsetByCodePoints(0, Math.min(Integer.parseInt(parts[0]), code.codePointCount(0, code.length())));
        while (cursor < code.length() && Character.isJavaIdentifierPart(code.charAt(cursor))) cursor++;
        int start = beginning(code.substring(0, cursor));
        String source = code.substring(start, cursor);
        String found = documentation(source);
        // A method's name alone has none: what follows its bracket has.
        if (found.isEmpty()) found = documentation(source + "(");
        if (found.isEmpty()) {
            String word = source.replaceAll("(?s).*?(\\w*)$", "$1");
            found = shell.variables().filter(v -> v.name().equals(word))
                .map(v -> v.typeName() + " " + v.name() + " = " + shell.varValue(v))
                .collect(Collectors.joining("\n"));
        }
        send("text", found);
    }

    private String documentation(String source) {
        return shell.sourceCodeAnalysis().documentation(source, source.length(), true).stream()
            .map(d -> d.signature() + (d.javadoc() == null || d.javadoc().isBlank() ? "" : "\n" + d.javadoc()))
            .distinct().collect(Collectors.joining("\n"));
    }

    /** Where the last snippet of the code begins. */
    private int beginning(String code) {
        String rest = code;
        while (true) {
            SourceCodeAnalysis.CompletionInfo info = shell.sourceCodeAnalysis().analyzeCompletion(rest);
            if (!info.completeness().isComplete() || info.remaining().isEmpty()) return code.length() - rest.length();
            rest = info.remaining();
        }
    }

    private String status(String code) {
        String rest = code;
        while (!rest.isBlank()) {
            SourceCodeAnalysis.CompletionInfo info = shell.sourceCodeAnalysis().analyzeCompletion(rest);
            switch (info.completeness()) {
                case DEFINITELY_INCOMPLETE, CONSIDERED_INCOMPLETE -> { return "incomplete"; }
                case UNKNOWN -> { return "invalid"; }
                default -> rest = info.remaining();
            }
        }
        return "complete";
    }

    // --- Frames and streams ------------------------------------------------------------------
    private void send(String kind, String body) throws IOException {
        byte[] text = (kind + "\n" + body.replace("\0", "") + "\0").getBytes(StandardCharsets.UTF_8);
        synchronized (answers) { answers.write(text); }
    }

    /** The next frame's kind and body; null: the kernel has ended. */
    private String[] receive() throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (int b; (b = commands.read()) != 0; bytes.write(b)) if (b < 0) return null;
        return (bytes.toString(StandardCharsets.UTF_8) + "\n").split("\n", 2);
    }

    private static PrintStream output(java.io.FileDescriptor descriptor) {
        return new PrintStream(new java.io.BufferedOutputStream(new FileOutputStream(descriptor), 8192), false, StandardCharsets.UTF_8);
    }

    private void flush() {
        out.flush();
        err.flush();
    }

    private void flushForEver() {
        try {
            while (true) {
                Thread.sleep(50);
                flush();
            }
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    /** Standard input: each line is asked of the person. */
    private class Answers extends InputStream {
        private byte[] line = {};
        private int taken;

        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
        }

        @Override
        public int read(byte[] buffer, int offset, int length) throws IOException {
            if (length == 0) return 0;
            if (taken == line.length) {
                flush();
                send("input", "");
                String[] answer = receive();
                if (answer == null || !answer[0].equals("line")) return -1;
                line = answer[1].getBytes(StandardCharsets.UTF_8);
                taken = 0;
            }
            int count = Math.min(length, line.length - taken);
            System.arraycopy(line, taken, buffer, offset, count);
            taken += count;
            return count;
        }
    }
}
