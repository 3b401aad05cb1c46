// Pays many requests out of a channel with the client of `mppx`, its `stellar` channel method that of ./stellar-channel.mjs:
// some one after another, some at once, and one that closes the channel. Prints one JSON line
// {sequential, parallel, close, signed}. The first three are {answers, credentials}, with {status, receipt, sha256} of each
// answer and how many credentials were signed in all; `close` may be null. `signed` is the highest total.
//
// The environment: COMMITMENT_SECRET, CHANNEL, SEQUENTIAL, PARALLEL, CLOSE (`no` leaves the channel open), SIGNED (what was
// signed before). Progress goes to stderr. The argument: the URL.

import { createHash } from "node:crypto";
import { stellarChannel } from "./stellar-channel.mjs";

export async function payOutOfChannel(mppx, { Mppx }, sdk) {
  const { COMMITMENT_SECRET, CHANNEL, SEQUENTIAL, PARALLEL, CLOSE, SIGNED } = process.env;
  const [url] = process.argv.slice(2);
  const { method, signed, ahead } = stellarChannel(mppx, sdk, {
    channel: CHANNEL,
    seed: COMMITMENT_SECRET,
    signed: BigInt(SIGNED ?? 0),
    say: (step) => console.error(step),
  });
  const client = Mppx.create({ methods: [method], polyfill: false });
  let created = 0;
  client.onCredentialCreated(() => (created += 1));
  const get = async (context) => {
    const headers = { "payment-channel": CHANNEL };
    const response = await client.fetch(url, { headers, ...(context && { context }) });
    const body = Buffer.from(await response.arrayBuffer());
    const receipt = response.headers.get("payment-receipt");
    return {
      status: response.status,
      receipt: receipt === null ? null : JSON.parse(Buffer.from(receipt, "base64url").toString()),
      sha256: createHash("sha256").update(body).digest("hex"),
    };
  };
  const counted = async (work) => {
    const before = created;
    const answers = await work();
    return { answers, credentials: created - before };
  };
  const sequential = await counted(async () => {
    const answers = [];
    for (let nth = 0; nth < Number(SEQUENTIAL ?? 1); nth += 1) answers.push(await get());
    return answers;
  });
  ahead(true);
  const parallel = await counted(() =>
    Promise.all(Array.from({ length: Number(PARALLEL ?? 0) }, () => get())),
  );
  ahead(false);
  const close = CLOSE === "no" ? null : await counted(async () => [await get({ action: "close" })]);
  console.log(JSON.stringify({ sequential, parallel, close, signed: signed().toString() }));
}
