// What the gateway relies on in the client of mppx: that it computes the ids of the wire reference, that the charge method
// of these tests signs as the reference says, and how often it pays, by what it is answered.
//
// `expected` is what differs between versions: {attempts, described, otherRail, alternateHeader}. See ./report.mjs.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { report } from "./report.mjs";
import { commitment, signCommitment, stellarChannel } from "./stellar-channel.mjs";
import { signEntry, signHash, stellarCharge, stellarChargeMethod, transfer } from "./stellar-charge.mjs";

const LONG_KEY = "test-vector-secret-minimum-32-byte-secret";
const STELLAR_KEY = "stellar-mpp-test-vector-secret-0123456789";
const USDC = "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA";
const STELLAR_REQUEST = {
  recipient: "GBHEGW3KWOY2OFH767EDALFGCUTBOEVBDQMCKUSJ7LPDVHTXHPCV2DBV",
  amount: "100000",
  currency: USDC,
  methodDetails: { network: "stellar:testnet", credentialTypes: ["transaction"], feePayer: true },
};

export async function run(mppx, { Mppx }, sdk, expected) {
  const { Challenge, Credential, Method } = mppx;
  const tempo = { realm: "api.example.com", method: "tempo", intent: "charge", request: { amount: "1000000" } };
  const stellar = {
    realm: "api.example.com",
    method: "stellar",
    intent: "charge",
    request: STELLAR_REQUEST,
    expires: "2030-01-01T00:00:00.000Z",
    secretKey: STELLAR_KEY,
  };
  const identified = (fields, id) => assert.equal(Challenge.from({ ...tempo, ...fields }).id, id);
  const seed = (byte) => sdk.Keypair.fromRawEd25519Seed(Buffer.alloc(32, byte));

  // The client, with a wallet that signs nothing, asks a server for the weather, `times` over. The server answers with
  // `answers` in turn, and goes on with the last. What came of it is that of the last time.
  const visit = async (answers, { times = 1, init, config } = {}) => {
    const credentials = [];
    const method = Method.toClient(stellarChargeMethod(mppx), {
      async createCredential({ challenge }) {
        return Credential.serialize({ challenge, payload: { type: "transaction", transaction: "AAAA" } });
      },
    });
    const client = Mppx.create({ methods: [method], polyfill: false, ...config });
    client.onCredentialCreated(({ credential }) => credentials.push(credential));
    const asked = [];
    const server = createServer((request, response) => {
      asked.push(request.headers);
      const answer = answers[Math.min(asked.length, answers.length) - 1];
      if (answer === CUT) return request.socket.destroy();
      const { status, headers = {} } = answer(`http://${request.headers.host}${request.url}`);
      response.writeHead(status, headers).end("told");
    });
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    try {
      const url = `http://127.0.0.1:${server.address().port}/weather`;
      let outcome;
      for (let time = 0; time < times; time += 1) {
        outcome = await client.fetch(url, init).then(
          ({ status }) => status,
          (error) => error,
        );
      }
      return { outcome, credentials, asked };
    } finally {
      server.close();
      server.closeAllConnections();
    }
  };
  const offer = (challenge = stellar, more = {}) => ({
    status: 402,
    headers: { "www-authenticate": Challenge.serialize(fresh(challenge)), ...more },
  });
  const fresh = (challenge) =>
    Challenge.from({ ...challenge, meta: { n: String(Math.random()) } });
  const paysOnce = async (second, outcome) => {
    const seen = await visit([() => offer(), second, () => ({ status: 200 })]);
    assert.equal(seen.outcome, outcome);
    assert.equal(seen.credentials.length, 1);
    assert.equal(seen.asked.length, 2);
  };

  await report({
    async id_v1() {
      identified({ secretKey: "test-vector-secret" }, "X6v1eo7fJ76gAxqY0xN9Jd__4lUyDDYmriryOM-5FO4");
    },

    async id_v2_of_an_end_and_a_digest() {
      const digest = "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE";
      identified(
        { secretKey: "test-vector-secret", expires: "2025-01-06T12:00:00Z", digest },
        "m39jbWWCIfmfJZSwCfvKFFtBl0Qwf9X4nOmDb21peLA",
      );
    },

    async id_v3_of_an_empty_opaque() {
      identified(
        { secretKey: "test-vector-secret", meta: {} },
        "vb4IyH-0LdJ3s7L0QAw8jIzcZkyxksPhIvEfmHmzA9k",
      );
    },

    async id_v4_of_an_end_and_an_opaque() {
      const meta = { pi: "pi_3abc123XYZ" };
      identified(
        { secretKey: "test-vector-secret", expires: "2025-01-06T12:00:00Z", meta },
        "KAfoMrA4fnzS1DPWN_cUv_b3_yHxCizdp6OhH7gluMY",
      );
    },

    async id_v5_by_a_long_key() {
      identified({ secretKey: LONG_KEY }, "6QDs0BmhrI_v67iWeCMvGqQJEFQ6ErWKlk7zi5xL6t0");
    },

    async id_v6_of_a_raw_opaque() {
      identified(
        { secretKey: LONG_KEY, opaque: "trace-123" },
        "1XJ-Ti0DACNe3E1zHvwH6OdnKlhUx6xKxDbhJyexng4",
      );
    },

    async id_v7_of_another_header() {
      const challenge = Challenge.from({ ...tempo, secretKey: LONG_KEY, header: "Payment-Authorization" });
      const known = challenge.id === "re8MIMJYpIJ0r_aiizscg6ghtipQM8IpOa_NtpwIU8E";
      assert.equal(known, expected.alternateHeader);
    },

    async id_v8_and_header_of_a_stellar_charge() {
      const meta = { _mppx_scope: "GET /data" };
      const challenge = Challenge.from({ ...stellar, meta, description: 'Say "hi" \\ ok' });
      assert.equal(challenge.id, "uzZDWcRuZwVtOWlgsXxvwESPqFp5_WMnIwIJzEcaqnE");
      const parsed = Challenge.deserialize(Challenge.serialize(challenge));
      assert.deepEqual(parsed.request, STELLAR_REQUEST);
      assert.equal(parsed.description, 'Say "hi" \\ ok');
      assert.equal(Challenge.verify(parsed, { secretKey: STELLAR_KEY }), true);
      assert.equal(Challenge.verify(parsed, { secretKey: LONG_KEY }), false);
    },

    async id_v9_of_a_stellar_channel() {
      const channel = "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ";
      const reference = "00000000-0000-4000-8000-000000000001";
      const methodDetails = { network: "stellar:testnet", cumulativeAmount: "2000000", reference };
      const request = { channel, amount: "1000000", methodDetails };
      identified(
        { ...stellar, intent: "channel", request },
        "34QXbZOYO1TqBKpiLOJRmjBIeB_mZVB0BXeE7jTTljo",
      );
    },

    async the_credential_echoes_its_challenge() {
      const challenge = Challenge.from({ ...stellar, meta: { _mppx_scope: "GET /data" } });
      const header = Challenge.serialize(challenge);
      const { credentials, asked } = await visit([
        () => ({ status: 402, headers: { "www-authenticate": header } }),
        () => ({ status: 200 }),
      ]);
      assert.equal(asked[0]["accept-payment"], "stellar/charge");
      assert.equal(asked[1].authorization, credentials[0]);
      const [scheme, encoded] = credentials[0].split(" ");
      assert.equal(scheme, "Payment");
      assert.match(encoded, /^[A-Za-z0-9_-]+$/);
      const echoed = JSON.parse(Buffer.from(encoded, "base64url").toString()).challenge;
      const sent = Object.fromEntries([...header.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
      assert.deepEqual(echoed, sent);
      assert.equal(echoed.id, "uzZDWcRuZwVtOWlgsXxvwESPqFp5_WMnIwIJzEcaqnE");
    },

    async a_transfer_is_bound_to_its_challenge() {
      const id = "X6v1eo7fJ76gAxqY0xN9Jd__4lUyDDYmriryOM-5FO4";
      const signature =
        "d51b798a7dbc08fe1a7a8c3a5f74b8fa45fb68e9dd3a6ca745f1f2462c187e35" +
        "8914a861036979198ec06d39f907873090d087e2297dfd792a40e2175de5d50f";
      assert.equal(signHash(seed(3), id, "ab".repeat(32)), signature);
      assert.equal(signHash(seed(3), id, "AB".repeat(32)), signature);
    },

    async an_auth_entry_is_signed() {
      const { xdr } = sdk;
      const payer = seed(3);
      const asked = { currency: USDC, recipient: seed(1).publicKey(), amount: "100000" };
      const call = transfer(sdk, asked, payer.publicKey()).body().invokeHostFunctionOp().hostFunction();
      const entry = new xdr.SorobanAuthorizationEntry({
        credentials: xdr.SorobanCredentials.sorobanCredentialsAddress(
          new xdr.SorobanAddressCredentials({
            address: new sdk.Address(payer.publicKey()).toScAddress(),
            nonce: xdr.Int64.fromString("42"),
            signatureExpirationLedger: 0,
            signature: xdr.ScVal.scvVoid(),
          }),
        ),
        rootInvocation: new xdr.SorobanAuthorizedInvocation({
          function: xdr.SorobanAuthorizedFunction.sorobanAuthorizedFunctionTypeContractFn(
            call.invokeContract(),
          ),
          subInvocations: [],
        }),
      });
      const signed = await signEntry(sdk, entry, payer, 12345, sdk.Networks.TESTNET);
      const signature =
        "0000001000000001000000010000001100000001000000020000000f0000000a7075626c69635f6b657900000000000d00000020" +
        "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1" +
        "0000000f000000097369676e61747572650000000000000d00000040" +
        "8190c3e0df1fafeeef47f22c25152069c741e9b042f5b0ddbaad8fb43f77a54d" +
        "252159089f74d22aa5e4e4df798bcc52414c6bdab5594a0ab706046aac90d304";
      assert.equal(signed.credentials().address().signature().toXDR("hex"), signature);
    },

    async commitments_c1_c2_and_c3() {
      const channel = "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ";
      const signed = (network, amount) => signCommitment(sdk, seed(1), { channel, network, amount });
      const c1 = { channel, network: "stellar:testnet", amount: 1_000_000n };
      assert.equal(
        commitment(sdk, c1).toString("hex"),
        "0000001100000001000000040000000f00000006616d6f756e7400000000000a000000000000000000000000000f4240" +
          "0000000f000000076368616e6e656c000000001200000001" +
          "02".repeat(32) +
          "0000000f00000006646f6d61696e00000000000f000000086368616e636d6d740000000f000000076e6574776f726b00" +
          "0000000d00000020cee0302d59844d32bdca915c8203dd44b33fbb7edc19051ea37abedf28ecd472",
      );
      assert.equal(
        signed("stellar:testnet", 1_000_000n),
        "a90764b6d4e252fc080a12d5355fc7d194593a5ea2aa4ad9c55cf6f88072f956" +
          "5c793e1e075f484c8281c275b76371f8307bdb522aa67121420cef61f9e3c50c",
      );
      assert.equal(
        signed("stellar:testnet", 18_446_744_073_709_551_621n),
        "987cf2195bc65656ac60d4ece7e40c90dc4d3a4a9347f4309e4624c9ff2f82cf" +
          "860401a52cc9ac54314bd0a3fc9ad696247283d4aee5804f8779a7d979f5c20c",
      );
      assert.equal(
        signed("stellar:pubnet", 1_000_000n),
        "23b9ce3b96b729df91774abbda79481183f746662e601d04f3efe8476c886398" +
          "da2a8e9b01c588e55a9439f9dd9db353b8dbc78d8d53ecba2a2ff3344b154b04",
      );
    },

    async a_wallet_of_a_channel_signs_rising_totals() {
      const channel = "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ";
      const wallet = stellarChannel(mppx, sdk, { channel, seed: "01".repeat(32) });
      const asked = (amount, cumulativeAmount, from = channel) => {
        const reference = "00000000-0000-4000-8000-000000000001";
        const methodDetails = { network: "stellar:testnet", cumulativeAmount, reference };
        return { ...stellar, id: "x", intent: "channel", request: { amount, channel: from, methodDetails } };
      };
      const payload = async (challenge, context) => {
        const credential = await wallet.method.createCredential({ challenge, context });
        return Credential.deserialize(credential).payload;
      };
      const first = await payload(asked("1000000", "0"));
      assert.deepEqual(first, {
        action: "voucher",
        amount: "1000000",
        signature: signCommitment(sdk, seed(1), { channel, network: "stellar:testnet", amount: 1_000_000n }),
      });
      // At once, and then after the server has told of more.
      const both = await Promise.all([payload(asked("5", "0")), payload(asked("5", "0"))]);
      assert.deepEqual(both.map(({ amount }) => amount), ["1000005", "1000010"]);
      assert.equal((await payload(asked("1", "2000000"))).amount, "2000001");
      // A discount is there once, however many challenges show it.
      wallet.ahead(true);
      assert.equal((await payload(asked("1", "2000001"))).amount, "3000001");
      wallet.ahead(false);
      const close = await payload(asked("1", "0"), { action: "close" });
      assert.deepEqual([close.action, close.amount], ["close", "3000002"]);
      const exact = await payload(asked("1", "0"), { action: "close", cumulativeAmount: "7" });
      assert.deepEqual([exact.action, exact.amount, wallet.signed()], ["close", "7", 3000002n]);
      const other = "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA";
      await assert.rejects(payload(asked("1", "0", other)), /asked to pay out of CBIEL/);
    },

    async a_wallet_does_not_pay_what_it_cannot() {
      const wallet = (mode) =>
        stellarCharge(mppx, sdk, {
          secret: seed(3).secret(),
          rpcUrl: "https://127.0.0.1:1",
          mode,
        });
      const asked = (methodDetails) => ({ challenge: { ...stellar, request: { ...STELLAR_REQUEST, methodDetails } } });
      const network = "stellar:testnet";
      await assert.rejects(wallet("push").createCredential(asked({ network, feePayer: true })), /its own fee/);
      await assert.rejects(wallet("push").createCredential(asked({ network })), /no signed hashes/);
      const hashes = { network, credentialTypes: ["signedHash"] };
      await assert.rejects(wallet("pull").createCredential(asked(hashes)), /no transactions/);
      await assert.rejects(wallet("pull").createCredential(asked({ network: "public" })), /no such network/);
    },

    async answered_200_it_paid_once() {
      await paysOnce(() => ({ status: 200 }), 200);
    },

    async answered_503_it_does_not_ask_again() {
      await paysOnce(() => ({ status: 503, headers: { "retry-after": "0" } }), 503);
    },

    async answered_409_410_or_500_it_does_not_ask_again() {
      for (const status of [409, 410, 500]) await paysOnce(() => ({ status }), status);
    },

    async answered_402_without_a_challenge_it_does_not_pay_again() {
      await paysOnce(() => ({ status: 402 }), 402);
    },

    async a_connection_that_is_cut_is_an_error_and_no_second_payment() {
      const { outcome, credentials, asked } = await visit([() => offer(), CUT, () => ({ status: 200 })]);
      assert.ok(outcome instanceof Error);
      assert.deepEqual([credentials.length, asked.length], [1, 2]);
    },

    // The reason why a payment whose outcome is unknown is never answered with 402.
    async answered_402_with_a_challenge_it_may_pay_again() {
      const refused = await visit([() => offer()]);
      assert.equal(refused.outcome, 402);
      assert.equal(refused.credentials.length, expected.attempts);
      assert.equal(new Set(refused.credentials).size, expected.attempts);
      const taken = await visit([() => offer(), () => offer(), () => ({ status: 200 })]);
      assert.equal(taken.outcome, expected.attempts > 1 ? 200 : 402);
    },

    async a_credential_that_is_kept_is_presented_again_without_a_payment() {
      const { credentials } = await visit([() => offer(), () => ({ status: 503 })]);
      const [authorization] = credentials;
      const again = await visit([() => ({ status: 200 })], { init: { headers: { authorization } } });
      assert.equal(again.outcome, 200);
      assert.equal(again.asked[0].authorization, authorization);
      assert.equal(again.credentials.length, 0);
    },

    async a_request_that_is_made_anew_after_503_pays_anew() {
      const busy = () => ({ status: 503, headers: { "retry-after": "0" } });
      const answers = [() => offer(), busy, () => offer(), () => ({ status: 200 })];
      const seen = await visit(answers, { times: 2 });
      assert.equal(seen.outcome, 200);
      assert.equal(seen.credentials.length, 2);
      assert.equal(seen.asked[2].authorization, undefined);
    },

    // Why a description is escaped, and holds nothing but ASCII.
    async a_description_that_names_the_scheme() {
      const raw = (description) => () => {
        const header = Challenge.serialize(fresh(stellar));
        const described = header.replace(", expires=", `, description="${description}", expires=`);
        return { status: 402, headers: { "www-authenticate": described } };
      };
      const seen = await visit([raw("Payment for API"), () => ({ status: 200 })]);
      assert.equal(String(seen.outcome), expected.described);
      const escaped = await visit([raw('PaymentXfor \\"API\\"'), () => ({ status: 200 })]);
      assert.equal(escaped.outcome, 200, String(escaped.outcome));
    },

    // Why an offer of x402 is left out for who sends Accept-Payment, and hidden from pages of another origin.
    async an_offer_of_the_other_rail() {
      const x402 = (url) => ({
        x402Version: 2,
        resource: { url, description: "the weather", mimeType: "application/json" },
        accepts: [
          {
            scheme: "exact",
            network: "stellar:testnet",
            amount: "10000",
            asset: USDC,
            payTo: STELLAR_REQUEST.recipient,
            maxTimeoutSeconds: 60,
            extra: { areFeesSponsored: true },
          },
        ],
      });
      const both = (url) => {
        const required = Buffer.from(JSON.stringify(x402(url))).toString("base64");
        return offer(stellar, { "payment-required": required });
      };
      const config = { acceptPaymentPolicy: "never" };
      const seen = await visit([both, () => ({ status: 200 })], { config });
      assert.equal(seen.asked[0]["accept-payment"], undefined);
      assert.equal(String(seen.outcome), expected.otherRail);
      const elsewhere = (url) => both(url.replace("127.0.0.1", "api.example.com"));
      const named = await visit([elsewhere, () => ({ status: 200 })], { config });
      assert.equal(String(named.outcome), expected.otherRail);
    },
  });
}

const CUT = Symbol("the connection is cut");
