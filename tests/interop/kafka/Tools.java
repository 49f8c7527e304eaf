import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main methods of Apache Kafka's tools one after another in one JVM, whose start costs more than most of them do.
 *
 * A call comes on stdin: the number of words, the words (main class, then arguments), what the tool shall read. The answer
 * goes to stdout: exit code, what the tool wrote to stdout, what to stderr. Words and bytes have their length before them,
 * four bytes, big-endian. A tool that exits (Kafka's tools do it through Exit) stops where it is, as in a JVM of its own: its
 * thread never goes on.
 */
public final class Tools {
    private static final ThreadLocal<Call> CURRENT = new InheritableThreadLocal<>();

    private static final class Call {
        final ByteArrayOutputStream out = new ByteArrayOutputStream();
        final ByteArrayOutputStream err = new ByteArrayOutputStream();
        final AtomicInteger code = new AtomicInteger(Integer.MIN_VALUE);
        final CountDownLatch ended = new CountDownLatch(1);

        void end(int exitCode) {
            code.compareAndSet(Integer.MIN_VALUE, exitCode);
            ended.countDown();
        }
    }

    /** What threads of a call write belongs to the call: also what Scala's Console writes, which keeps the first System.out. */
    private static final class Redirected extends OutputStream {
        private final boolean error;

        Redirected(boolean error) {
            this.error = error;
        }

        @Override
        public void write(int b) {
            write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int length) {
            Call call = CURRENT.get();
            if (call != null) {
                (error ? call.err : call.out).write(bytes, offset, length);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        DataInputStream calls = new DataInputStream(System.in);
        DataOutputStream answers = new DataOutputStream(System.out);
        System.setOut(new PrintStream(new Redirected(false), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new Redirected(true), true, StandardCharsets.UTF_8));
        Exit.setExitProcedure(Tools::exit);
        Exit.setHaltProcedure(Tools::exit);
        while (true) {
            String[] command = new String[count(calls)];
            for (int i = 0; i < command.length; i++) {
                command[i] = new String(bytes(calls), StandardCharsets.UTF_8);
            }
            Call call = run(command, new ByteArrayInputStream(bytes(calls)));
            answers.writeInt(call.code.get());
            for (ByteArrayOutputStream written : new ByteArrayOutputStream[] {call.out, call.err}) {
                byte[] bytes = written.toByteArray();
                answers.writeInt(bytes.length);
                answers.write(bytes);
            }
            answers.flush();
        }
    }

    /** The number of words of the next call. When there is none any more the JVM ends, without the tools' shutdown hooks. */
    private static int count(DataInputStream calls) throws IOException {
        try {
            return calls.readInt();
        } catch (EOFException end) {
            Runtime.getRuntime().halt(0);
            throw end;
        }
    }

    private static byte[] bytes(DataInputStream in) throws IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return bytes;
    }

    private static Call run(String[] command, InputStream stdin) throws InterruptedException {
        Call call = new Call();
        System.setIn(stdin);
        Thread thread = new Thread(() -> {
            CURRENT.set(call);
            String[] args = new String[command.length - 1];
            System.arraycopy(command, 1, args, 0, args.length);
            try {
                Class.forName(command[0]).getMethod("main", String[].class).invoke(null, (Object) args);
                call.end(0);
            } catch (InvocationTargetException thrown) {
                thrown.getCause().printStackTrace();
                call.end(1);
            } catch (ReflectiveOperationException wrong) {
                wrong.printStackTrace();
                call.end(2);
            }
        }, command[0]);
        thread.setDaemon(true);
        thread.start();
        call.ended.await();
        return call;
    }

    private static void exit(int code, String message) {
        Call call = CURRENT.get();
        if (call == null) {
            Runtime.getRuntime().halt(code);
            return;
        }
        call.end(code);
        while (true) {
            try {
                Thread.sleep(Long.MAX_VALUE);
            } catch (InterruptedException ignored) {
                // sleeps on: the tool has ended
            }
        }
    }
}
