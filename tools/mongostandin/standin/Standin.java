import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.util.List;

/**
 * Serves MongoDB's wire protocol from memory, on 127.0.0.1 and the port that is its argument (0: any). It prints the port
 * when it listens, and ends when its standard input does, so that it never outlives who started it.
 */
public final class Standin {
    /** The version it claims to be: today's drivers refuse the newest one that the library knows (wire version 8). */
    private static final class Version implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(6, 0, 0);
        }

        @Override
        public int getWireVersion() {
            return 17;
        }
    }

    public static void main(String[] args) throws Exception {
        MemoryBackend backend = new MemoryBackend();
        backend.version(new Version());
        MongoServer server = new MongoServer(backend);
        server.bind("127.0.0.1", Integer.parseInt(args[0]));
        System.out.println(server.getLocalAddress().getPort());
        System.out.flush();
        while (System.in.read() >= 0) {
            // Whoever holds the other end of standard input wants the server to go on.
        }
        System.exit(0);
    }
}
