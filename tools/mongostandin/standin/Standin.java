import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.EmptyIndex;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.Utils;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.backend.memory.index.MemoryUniqueIndex;
import de.bwaldvogel.mongo.bson.Document;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

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

    /**
     * A database whose reads use indexes. The library's own reads all of a collection, under its lock, unless a query names
     * the fields of a unique index and nothing else: with 6,000 users that is 10 s of waiting. What an index finds here are
     * candidates only; the library still compares each with the whole query.
     */
    private static final class Indexed extends MemoryDatabase {
        Indexed(String name, CursorRegistry cursors) {
            super(name, cursors);
        }

        @Override
        protected Index<Integer> openOrCreateUniqueIndex(String collection, String name, List<IndexKey> keys, boolean sparse) {
            return keys.size() == 1 ? new Unique(name, keys, sparse) : super.openOrCreateUniqueIndex(collection, name, keys, sparse);
        }

        @Override
        protected Index<Integer> openOrCreateSecondaryIndex(String collection, String name, List<IndexKey> keys, boolean sparse) {
            return new Secondary(name, keys);
        }
    }

    /** Serves queries that name other fields besides its own, too. */
    private static final class Unique extends MemoryUniqueIndex {
        private final String field;

        Unique(String name, List<IndexKey> keys, boolean sparse) {
            super(name, keys, sparse);
            field = keys.get(0).getKey();
        }

        private Document own(Document query) {
            return new Document(field, query.get(field));
        }

        @Override
        public boolean canHandle(Document query) {
            return query.containsKey(field) && super.canHandle(own(query));
        }

        @Override
        public Iterable<Integer> getPositions(Document query) {
            return super.getPositions(own(query));
        }
    }

    /**
     * Knows where documents are by the values of the first of its fields, and serves queries for one or some of these values,
     * and those for a range of them that ask for nothing else.
     */
    private static final class Secondary extends EmptyIndex<Integer> {
        private static final Set<String> RANGES = Set.of("$gt", "$gte", "$lt", "$lte");

        private final String field;
        /** By value, then by the document's key. */
        private final Map<Object, Map<Object, Integer>> places = new HashMap<>();

        Secondary(String name, List<IndexKey> keys) {
            super(name, keys);
            field = keys.get(0).getKey();
        }

        @Override
        public void add(Document document, Integer position, MongoCollection<Integer> collection) {
            for (Object v : values(Utils.getSubdocumentValueCollectionAware(document, field))) {
                places.computeIfAbsent(v, k -> new LinkedHashMap<>()).put(document.get("_id"), position);
            }
        }

        @Override
        public Integer remove(Document document) {
            for (Object v : values(Utils.getSubdocumentValueCollectionAware(document, field))) {
                places.computeIfPresent(v, (k, at) -> {
                    at.remove(document.get("_id"));
                    return at.isEmpty() ? null : at;
                });
            }
            return null;
        }

        @Override
        public void updateInPlace(Document before, Document after, Integer position, MongoCollection<Integer> collection) {
            remove(before);
            add(after, position, collection);
        }

        @Override
        public boolean canHandle(Document query) {
            Object asked = query.get(field);
            if (!(asked instanceof Document)) {
                return isValue(asked);
            }
            Document how = (Document) asked;
            if (how.keySet().equals(Set.of("$in"))) {
                return ((Collection<?>) how.get("$in")).stream().allMatch(Secondary::isValue);
            }
            return query.size() == 1 && !how.isEmpty() && RANGES.containsAll(how.keySet()) && how.values().stream().allMatch(Secondary::isValue);
        }

        @Override
        public Iterable<Integer> getPositions(Document query) {
            Set<Integer> found = new LinkedHashSet<>();
            Object asked = query.get(field);
            if (asked instanceof Document && !((Document) asked).containsKey("$in")) {
                places.values().forEach(at -> found.addAll(at.values()));
                return found;
            }
            for (Object v : values(asked instanceof Document ? ((Document) asked).get("$in") : asked)) {
                found.addAll(places.getOrDefault(v, Map.of()).values());
            }
            return found;
        }

        /** Tells whether values of this kind, and no others, are equal in a query if they are in a map. */
        private static boolean isValue(Object v) {
            return v instanceof String || v instanceof Number || v instanceof Boolean;
        }

        /** Returns what is to be found of a value: of a list its members. */
        private static Set<Object> values(Object v) {
            Set<Object> all = new LinkedHashSet<>();
            if (v instanceof Collection) {
                ((Collection<?>) v).forEach(one -> all.addAll(values(one)));
            } else if (v instanceof Number) {
                all.add(((Number) v).doubleValue()); // numbers of different types are equal
            } else if (v != null) {
                all.add(v);
            }
            return all;
        }
    }

    public static void main(String[] args) throws Exception {
        MemoryBackend backend = new MemoryBackend() {
            @Override
            public MemoryDatabase openOrCreateDatabase(String name) {
                return new Indexed(name, getCursorRegistry());
            }
        };
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
