// The `channel` intent of the `stellar` method for the client of mppx: what the wallet of an agent does between a challenge
// and its credential. mppx does all the rest. Written from the wire reference; it asks no ledger, and builds what it signs
// itself.
//
// Node resolves packages from the folder of the file that imports them, and this one serves several: they are arguments.

import { createHash } from "node:crypto";

const PASSPHRASES = {
  "stellar:testnet": "Test SDF Network ; September 2015",
  "stellar:pubnet": "Public Global Stellar Network ; September 2015",
};

/** The method as a server names it, too: its fields and what they may be. */
export function stellarChannelMethod({ Method, z }) {
  const payload = (action) =>
    z.object({ action: z.literal(action), amount: z.string(), signature: z.string() });
  return Method.from({
    name: "stellar",
    intent: "channel",
    schema: {
      credential: { payload: z.discriminatedUnion("action", [payload("voucher"), payload("close")]) },
      request: z.object({
        amount: z.string(),
        channel: z.string(),
        externalId: z.optional(z.string()),
        methodDetails: z.object({
          cumulativeAmount: z.string(),
          network: z.optional(z.string()),
          reference: z.string(),
        }),
      }),
    },
  });
}

/**
 * Pays out of `channel` with the key of `seed`, 64 hex digits. `signed` is what was signed on it before.
 *
 * The total is what the reference client signs: the greater of what was signed here and what the challenge says, and the
 * amount on top. It is taken before anything else happens, so requests at once have totals of their own; between `ahead(true)`
 * and `ahead(false)` they are a full price apart, the greatest that was seen, since a discount that several challenges show
 * is there once. A fetch with `context: {action: "close"}` closes the channel, with `cumulativeAmount` beside it at exactly
 * that total.
 */
export function stellarChannel(mppx, sdk, { channel, seed, signed = 0n, say = () => {} }) {
  const { Method, Credential, z } = mppx;
  const key = sdk.Keypair.fromRawEd25519Seed(Buffer.from(seed, "hex"));
  const greater = (one, other) => (one > other ? one : other);
  let mark = BigInt(signed);
  let price = 0n;
  let isAhead = false;
  const method = Method.toClient(stellarChannelMethod(mppx), {
    context: z.object({
      action: z.optional(z.enum(["voucher", "close"])),
      cumulativeAmount: z.optional(z.string()),
    }),
    async createCredential({ challenge, context = {} }) {
      const { request } = challenge;
      if (request.channel !== channel) throw new Error(`asked to pay out of ${request.channel}`);
      const { cumulativeAmount, network = "stellar:testnet" } = request.methodDetails;
      const [accepted, amount] = [BigInt(cumulativeAmount), BigInt(request.amount)];
      price = greater(price, amount);
      const next = greater(accepted, mark) + (isAhead ? price : amount);
      const total = context.cumulativeAmount === undefined ? next : BigInt(context.cumulativeAmount);
      mark = greater(total, mark);
      const action = context.action ?? "voucher";
      say(`challenge ${challenge.id}: ${amount} on ${accepted}; ${action} of ${total}`);
      const signature = signCommitment(sdk, key, { channel, network, amount: total });
      return Credential.serialize({
        challenge,
        payload: { action, amount: total.toString(), signature },
      });
    },
  });
  return { method, signed: () => mark, ahead: (on) => (isAhead = on) };
}

/** The commitment to a total of `amount`, signed: 128 hex digits. */
export function signCommitment(sdk, key, { channel, network, amount }) {
  return Buffer.from(key.sign(commitment(sdk, { channel, network, amount }))).toString("hex");
}

/** What is signed: the XDR of a map of four symbols, 192 bytes. */
export function commitment({ StrKey }, { channel, network, amount }) {
  const passphrase = PASSPHRASES[network];
  if (passphrase === undefined) throw new Error(`no such network: ${network}`);
  const word = (number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(number);
    return bytes;
  };
  const symbol = (text) =>
    Buffer.concat([word(15), word(text.length), Buffer.from(text), Buffer.alloc(-text.length & 3)]);
  const total = Buffer.alloc(16);
  total.writeBigInt64BE(BigInt(amount) >> 64n, 0);
  total.writeBigUInt64BE(BigInt.asUintN(64, BigInt(amount)), 8);
  return Buffer.concat([
    ...[word(17), word(1), word(4)],
    ...[symbol("amount"), word(10), total],
    ...[symbol("channel"), word(18), word(1), Buffer.from(StrKey.decodeContract(channel))],
    ...[symbol("domain"), symbol("chancmmt")],
    ...[symbol("network"), word(13), word(32), createHash("sha256").update(passphrase).digest()],
  ]);
}
