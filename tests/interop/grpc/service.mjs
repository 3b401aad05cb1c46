// A gRPC service whose messages are plain bytes. Prints `PORT n` and serves until it is killed.
//
// Echo: the message back, with metadata before and behind. Count: as many messages as the byte says. Sum: the lengths of
// all messages that came, in one byte. Talk: each message back when it has come. Fail: a status with details.
import { Metadata, Server, ServerCredentials, status } from "@grpc/grpc-js";

const bytes = (value) => Buffer.from(value);
const method = (name, requestStream, responseStream) => ({
  path: `/free.Test/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});

export const service = {
  Echo: method("Echo", false, false),
  Count: method("Count", false, true),
  Sum: method("Sum", true, false),
  Talk: method("Talk", true, true),
  Fail: method("Fail", false, false),
};

const behind = (call) => {
  const metadata = new Metadata();
  metadata.set("x-behind", "trailer");
  metadata.set("x-came-bin", call.metadata.get("x-sent-bin")[0] ?? Buffer.alloc(0));
  return metadata;
};

const implementation = {
  Echo(call, done) {
    const before = new Metadata();
    before.set("x-before", "header");
    call.sendMetadata(before);
    done(null, call.request, behind(call));
  },
  Count(call) {
    for (let i = 0; i < call.request[0]; i++) call.write(Buffer.from([i]));
    call.end(behind(call));
  },
  Sum(call, done) {
    let sum = 0;
    call.on("data", (message) => (sum += message.length));
    call.on("end", () => done(null, Buffer.from([sum]), behind(call)));
  },
  Talk(call) {
    call.on("data", (message) => call.write(message));
    call.on("end", () => call.end(behind(call)));
  },
  Fail(call, done) {
    done({ code: status.FAILED_PRECONDITION, details: "not today: 100 %", metadata: behind(call) });
  },
};

if (process.argv[1] === import.meta.filename) {
  const server = new Server({ "grpc.max_receive_message_length": -1 });
  server.addService(service, implementation);
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    console.log(`PORT ${port}`);
  });
}
