// Calls the service at `host:port` in every way that gRPC has, and prints what came as JSON.
import { Client, Metadata, credentials } from "@grpc/grpc-js";
import { service } from "./service.mjs";

const client = new Client(process.argv[2], credentials.createInsecure(), {
  "grpc.max_receive_message_length": -1,
});
const sent = new Metadata();
sent.set("x-sent-bin", Buffer.from([0, 255, 7]));
const args = (name) => [
  service[name].path,
  service[name].requestSerialize,
  service[name].responseDeserialize,
];
const text = (metadata) => ({
  ...metadata.getMap(),
  "x-came-bin": metadata.get("x-came-bin")[0]?.toString("hex"),
});
/** The end of a call: its status and what stands behind it. */
const end = (call) =>
  new Promise((resolve) =>
    call.on("status", ({ code, details, metadata }) =>
      resolve({ code, details, behind: text(metadata)["x-behind"], came: text(metadata)["x-came-bin"] }),
    ),
  );
const unary = async (name, message) => {
  let answer;
  let before;
  let call;
  const answered = new Promise((resolve) => {
    call = client.makeUnaryRequest(...args(name), message, sent, (_, value) => {
      answer = value;
      resolve();
    });
    call.on("metadata", (metadata) => (before = metadata.getMap()["x-before"]));
  });
  const ended = end(call);
  await answered;
  return { answer, before, end: await ended };
};

const large = Buffer.alloc(1_000_000, "tollgate ");
const echo = await unary("Echo", large);
const fail = await unary("Fail", Buffer.from("x"));

const counting = client.makeServerStreamRequest(...args("Count"), Buffer.from([5]), sent);
const counted = [];
counting.on("data", (message) => counted.push(message[0]));
const countEnd = await end(counting);

const sum = await new Promise((resolve) => {
  const call = client.makeClientStreamRequest(...args("Sum"), sent, (_, value) => resolve(value[0]));
  for (const piece of ["a", "bb", "ccc"]) call.write(Buffer.from(piece));
  call.end();
});

// Each message goes only when the one before has come back: nothing on the way may wait for more.
const talk = client.makeBidiStreamRequest(...args("Talk"), sent);
const talkEnd = end(talk);
const said = [];
const ended = new Promise((resolve) => talk.on("end", resolve));
talk.on("data", (message) => {
  said.push(message.toString());
  if (said.length < 20) talk.write(Buffer.from(`message ${said.length}`));
  else talk.end();
});
talk.write(Buffer.from("message 0"));
await ended;

console.log(
  JSON.stringify({
    echo: { same: echo.answer?.equals(large) ?? false, before: echo.before, end: echo.end },
    fail: fail.end,
    counted,
    countEnd,
    sum,
    said,
    talkEnd: await talkEnd,
  }),
);
client.close();
