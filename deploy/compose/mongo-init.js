// Makes the replica set and its users, once; a second run changes nothing. It runs beside mongo-1 (Compose: mongo-init),
// where the first user may be made without logging in.
const direct = "mongodb://127.0.0.1:27017/?directConnection=true";
const admin = { user: "admin", pwd: process.env.MONGO_ADMIN_PASSWORD };

function connected() {
  for (let i = 0; i < 60; i++) {
    try {
      return new Mongo(direct).getDB("admin");
    } catch (e) {
      sleep(1000);
    }
  }
  throw new Error("mongo-1 does not answer");
}

function ours(db) {
  try {
    return db.auth(admin.user, admin.pwd).ok === 1;
  } catch (e) {
    return false; // not made yet, or another password: then what follows fails
  }
}

const db = connected();
if (!ours(db)) {
  try {
    db.adminCommand({
      replSetInitiate: { _id: "rs0", members: [1, 2, 3].map((n) => ({ _id: n, host: `mongo-${n}:27017`, priority: n === 1 ? 2 : 1 })) },
    });
  } catch (e) {
    if (e.codeName !== "AlreadyInitialized") throw e;
  }
  for (let i = 0; !db.hello().isWritablePrimary; i++) {
    if (i > 60) throw new Error("mongo-1 does not become the primary");
    sleep(1000);
  }
  db.createUser({ user: admin.user, pwd: admin.pwd, roles: ["root"] });
  db.auth(admin.user, admin.pwd);
}
if (!db.getUser("oceanchat")) {
  // OceanChat itself needs no more than this.
  db.createUser({ user: "oceanchat", pwd: process.env.MONGO_PASSWORD, roles: [{ role: "readWrite", db: "oceanchat" }] });
}
print("the replica set is ready");
