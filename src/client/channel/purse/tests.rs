//! The purse against the gateway's own accounting.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::{
    protocol::mpp::{
        ChallengeId, CredentialHeader,
        channel::{PAYMENT_NEXT, Request as Asked, reference},
        timestamp,
    },
    store::{
        Binding, Redelivery,
        channel::{Account, ChallengeDigest, Held, Reserve, Reserving, Token, Unfit},
    },
};

const CHANNEL: ContractId = ContractId([2; 32]);
const PRICE: i128 = 100;
const DEPOSIT: i128 = 1_000_000;

fn amount(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

fn purse(limits: Limits, deposit: i128, signed: i128) -> Arc<Purse> {
    let terms = Terms {
        network: Network::Testnet,
        channel: CHANNEL,
        asset: Network::Testnet.usdc(),
        payee: Address::Contract(ContractId([3; 32])),
        deposited: amount(deposit),
    };
    let seed = CommitmentSeed::from_bytes(&[1; 32]);
    Arc::new(Purse::in_memory(terms, seed, limits, amount(signed)))
}

fn place() -> Place {
    Place::of(&get())
}

fn get() -> Request<Vec<u8>> {
    Request::get("http://a/thing?x=1").body(Vec::new()).unwrap()
}

/// A gateway's account of the channel, and how it asks.
struct Gate {
    account: Account,
    asked: u64,
}

impl Gate {
    fn new() -> Self {
        Self { account: Account::default(), asked: 0 }
    }

    fn challenge(&mut self) -> mpp::Challenge {
        let standing = self.account.standing();
        let rest = amount(PRICE).less(standing.credit()).max(ONE);
        self.ask(standing.authorised, rest)
    }

    fn ask(&mut self, cumulative: Amount, amount: Amount) -> mpp::Challenge {
        self.asked += 1;
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.asked.to_be_bytes());
        let request = Asked {
            amount,
            channel: CHANNEL,
            cumulative,
            external_id: None,
            network: Network::Testnet,
            reference: reference(random),
        };
        mpp::Challenge {
            id: ChallengeId::new(self.asked.to_string()),
            realm: "a".to_owned(),
            method: "stellar".to_owned(),
            intent: "channel".to_owned(),
            request: request.encode(),
            description: None,
            digest: None,
            expires: Some(timestamp::write(300_000)),
            header: CredentialHeader::default(),
            opaque: None,
        }
    }

    /// What a 402 asks of a purse that asked at `since`.
    fn offer(&mut self, purse: &Purse, since: Amount) -> Offer {
        Offer::read(&self.challenge(), purse.terms(), since).unwrap()
    }

    fn take(&mut self, offer: &Offer, draft: &Draft) -> Reserving {
        let Commitment { amount: total, signature } = draft.commitment;
        draft.purse.seed.key().verify(Network::Testnet, CHANNEL, &draft.commitment).unwrap();
        let id: u64 = offer.challenge.id.as_str().parse().unwrap();
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&id.to_be_bytes());
        self.account.reserve(&Reserve {
            commitment: Held { amount: total, signature },
            challenge: ChallengeDigest(digest),
            base: offer.request.cumulative,
            binding: Binding([0; 32]),
            price: amount(PRICE),
            deposited: amount(DEPOSIT),
            withdrawn: Amount::ZERO,
            at_least: Amount::ZERO,
            most_unsettled: amount(i128::MAX),
            expired: false,
            token: Token(digest),
            now: 0,
            lease_until: 60,
            redelivery: Redelivery { attempts: 3, within: std::time::Duration::from_secs(60) },
        })
    }

    /// The headers of an answer to `offer` that was paid.
    fn answer(&mut self, offer: &Offer) -> HeaderMap {
        let standing = self.account.standing();
        let receipt = Receipt {
            reference: offer.request.reference.clone(),
            timestamp_ms: 0,
            external_id: None,
            challenge_id: offer.challenge.id.to_string(),
            channel: CHANNEL,
            accepted: standing.authorised,
            spent: standing.spent,
        };
        let mut headers = HeaderMap::new();
        headers.insert(PAYMENT_RECEIPT, receipt.to_mpp().encode());
        headers.insert(PAYMENT_NEXT, self.challenge().to_next());
        headers
    }

    fn token(offer: &Offer) -> Token {
        let id: u64 = offer.challenge.id.as_str().parse().unwrap();
        let mut token = [0; 16];
        token[..8].copy_from_slice(&id.to_be_bytes());
        Token(token)
    }
}

fn sign(purse: &Arc<Purse>, offer: &Offer) -> Result<Draft, Error> {
    purse.sign(offer, place(), Action::Voucher)
}

fn signed(purse: &Arc<Purse>, offer: &Offer) -> i128 {
    sign(purse, offer).unwrap().commitment.amount.units()
}

#[test]
fn one_request_after_another_costs_its_price_and_brings_the_next_challenge() {
    let (mut gate, purse) = (Gate::new(), purse(Limits::default(), DEPOSIT, 0));
    let mut offer = gate.offer(&purse, purse.mark());
    for round in 1..=200 {
        let draft = sign(&purse, &offer).unwrap();
        assert_eq!(draft.commitment.amount.units(), round * PRICE);
        assert!(matches!(gate.take(&offer, &draft), Reserving::Reserved(_)));
        gate.account.keep(Gate::token(&offer), 200).unwrap();
        let receipt = draft.answered(&gate.answer(&offer)).unwrap();
        assert_eq!(receipt.spent.units(), round * PRICE);
        offer = purse.at_hand(&get(), 0).unwrap();
        assert!(purse.at_hand(&get(), 0).is_none(), "a challenge is used once");
    }
}

#[test]
fn requests_at_once_have_amounts_of_their_own_that_cover_them_in_any_order() {
    let (mut gate, purse) = (Gate::new(), purse(Limits::default(), DEPOSIT, 0));
    let offers: Vec<_> = (0..8).map(|_| gate.offer(&purse, purse.mark())).collect();
    let drafts: Vec<_> = offers.iter().map(|offer| sign(&purse, offer).unwrap()).collect();
    let totals: Vec<_> = drafts.iter().map(|draft| draft.commitment.amount.units()).collect();
    assert_eq!(totals, (1..=8).map(|nth| nth * PRICE).collect::<Vec<_>>());
    for (offer, draft) in offers.iter().zip(&drafts).rev() {
        assert!(matches!(gate.take(offer, draft), Reserving::Reserved(_)));
    }
    assert_eq!(gate.account.standing().credit(), Amount::ZERO);
}

#[test]
fn a_discount_that_several_challenges_show_is_used_once() {
    let (mut gate, purse) = (Gate::new(), purse(Limits::default(), DEPOSIT, 0));
    // Paid and not delivered: the whole price is credit.
    let offer = gate.offer(&purse, purse.mark());
    let draft = sign(&purse, &offer).unwrap();
    gate.take(&offer, &draft);
    gate.account.give_back(Gate::token(&offer), true).unwrap();
    assert!(draft.answered(&HeaderMap::new()).is_none());

    let offers: Vec<_> = (0..3).map(|_| gate.offer(&purse, purse.mark())).collect();
    assert!(offers.iter().all(|offer| offer.request.amount == ONE));
    let drafts: Vec<_> = offers.iter().map(|offer| sign(&purse, offer).unwrap()).collect();
    let totals: Vec<_> = drafts.iter().map(|draft| draft.commitment.amount.units()).collect();
    assert_eq!(totals, [PRICE + 1, 2 * PRICE + 1, 3 * PRICE + 1]);
    for (offer, draft) in offers.iter().zip(&drafts) {
        assert!(matches!(gate.take(offer, draft), Reserving::Reserved(_)));
    }
}

#[test]
fn what_a_refused_request_was_signed_for_is_part_of_the_next() {
    let (mut gate, purse) = (Gate::new(), purse(Limits::default(), DEPOSIT, 0));
    let offer = gate.offer(&purse, purse.mark());
    let draft = sign(&purse, &offer).unwrap();
    let since = draft.mark_if_refused();
    draft.refused();
    let offer = gate.offer(&purse, since);
    let draft = sign(&purse, &offer).unwrap();
    assert_eq!(draft.commitment.amount.units(), PRICE + 1);
    assert!(matches!(gate.take(&offer, &draft), Reserving::Reserved(_)));
    gate.account.keep(Gate::token(&offer), 200).unwrap();
    draft.answered(&gate.answer(&offer));
    let offer = purse.at_hand(&get(), 0).unwrap();
    assert_eq!((signed(&purse, &offer), offer.request.amount.units()), (2 * PRICE, PRICE - 1));
}

#[test]
fn a_price_that_only_discounts_were_seen_of_is_learned_from_an_answer() {
    let (mut gate, before) = (Gate::new(), purse(Limits::default(), DEPOSIT, 0));
    let offer = Offer::read(&gate.ask(Amount::ZERO, amount(150)), before.terms(), Amount::ZERO);
    let (offer, purse) = (offer.unwrap(), purse(Limits::default(), DEPOSIT, 250));
    // 150 was taken for a request of 100, and another 100 was signed that nobody took.
    assert!(matches!(gate.take(&offer, &sign(&before, &offer).unwrap()), Reserving::Reserved(_)));
    let offer = gate.offer(&purse, purse.mark());
    let draft = sign(&purse, &offer).unwrap();
    assert_eq!((offer.request.amount.units(), draft.commitment.amount.units()), (50, 251));
    assert!(matches!(gate.take(&offer, &draft), Reserving::Reserved(_)));
    draft.answered(&gate.answer(&offer));

    let offers = [purse.at_hand(&get(), 0).unwrap(), gate.offer(&purse, purse.mark())];
    assert!(offers.iter().all(|offer| offer.request.amount.units() == 49));
    let drafts = offers.each_ref().map(|offer| sign(&purse, offer).unwrap());
    assert_eq!(drafts.each_ref().map(|draft| draft.commitment.amount.units()), [300, 400]);
    for (offer, draft) in offers.iter().zip(&drafts) {
        assert!(matches!(gate.take(offer, draft), Reserving::Reserved(_)));
    }
}

#[test]
fn a_server_that_claims_more_than_was_signed_gets_nothing() {
    let (mut gate, purse) = (Gate::new(), purse(Limits::default(), DEPOSIT, 500));
    let claim = |gate: &mut Gate, cumulative, asked| {
        let challenge = gate.ask(amount(cumulative), amount(asked));
        Offer::read(&challenge, purse.terms(), Amount::ZERO).unwrap()
    };
    let offer = claim(&mut gate, 501, 1);
    let refused = sign(&purse, &offer).err().unwrap();
    assert!(matches!(refused, Error::Overclaimed { .. }), "{refused}");
    assert_eq!(purse.signed(), amount(500), "nothing was signed");
    let offer = claim(&mut gate, 500, 1);
    assert_eq!(signed(&purse, &offer), 501);
}

#[test]
fn no_more_is_signed_than_the_limits_and_the_deposit_say() {
    let mut gate = Gate::new();
    let each = Limits { each: Some(amount(PRICE - 1)), total: None };
    let poor = purse(each, DEPOSIT, 0);
    let offer = gate.offer(&poor, Amount::ZERO);
    let refused = sign(&poor, &offer).err().unwrap();
    let said = "0.00001 USDC is asked, and at most 0.0000099 USDC may be paid";
    assert_eq!((refused.to_string().as_str(), poor.signed()), (said, Amount::ZERO));

    let total = Limits { each: None, total: Some(amount(250)) };
    for purse in [purse(total, DEPOSIT, 0), purse(Limits::default(), 250, 0)] {
        let drafts: Vec<_> = (0..3)
            .map(|_| {
                let offer = gate.offer(&purse, purse.mark());
                sign(&purse, &offer)
            })
            .collect();
        let totals: Vec<_> =
            drafts.iter().flatten().map(|draft| draft.commitment.amount.units()).collect();
        // The third may be covered by what the two others leave: nobody but the server knows.
        assert_eq!(totals, [100, 200, 250]);
        let offer = gate.offer(&purse, purse.mark());
        let refused = sign(&purse, &offer).err().unwrap();
        assert!(matches!(refused, Error::Exhausted { .. }), "{refused}");
        assert_eq!(purse.signed(), amount(250));
    }
}

#[test]
fn a_channel_whose_deposit_is_used_up_can_still_be_closed() {
    let (mut gate, purse) = (Gate::new(), purse(Limits::default(), PRICE, 0));
    let offer = gate.offer(&purse, purse.mark());
    let close =
        |offer: &Offer| purse.sign(offer, place(), Action::Close).map(|draft| draft.commitment);
    assert_eq!(signed(&purse, &offer), PRICE);
    assert!(matches!(sign(&purse, &offer).err().unwrap(), Error::Exhausted { .. }));
    assert_eq!(close(&offer).unwrap().amount, amount(PRICE));
    assert_eq!(purse.signed(), amount(PRICE));
}

#[test]
fn a_challenge_is_at_hand_for_its_own_place_and_body_until_it_ends() {
    let (mut gate, purse) = (Gate::new(), purse(Limits::default(), DEPOSIT, 0));
    let mut lay = |digest: Option<String>| {
        let offer = gate.offer(&purse, purse.mark());
        let draft = sign(&purse, &offer).unwrap();
        let mut headers = HeaderMap::new();
        let challenge = mpp::Challenge { digest, ..gate.challenge() };
        headers.insert(PAYMENT_NEXT, challenge.to_next());
        draft.answered(&headers);
    };
    let request = |method: &str, url: &str, body: &str| {
        Request::builder().method(method).uri(url).body(body.as_bytes().to_vec()).unwrap()
    };
    lay(None);
    for (method, url) in
        [("POST", "http://a/thing"), ("GET", "http://a/other"), ("GET", "https://a/thing")]
    {
        assert!(purse.at_hand(&request(method, url, ""), 0).is_none(), "{method} {url}");
    }
    assert!(purse.at_hand(&request("GET", "http://a/thing?y=2", ""), 0).is_some());
    lay(None);
    assert!(purse.at_hand(&get(), 295).is_none(), "it ends at 300");
    assert!(purse.at_hand(&get(), 0).is_none(), "and is not kept");
    lay(Some(digest::write(&Sha256::digest("this").into())));
    assert!(purse.at_hand(&request("GET", "http://a/thing", "that"), 0).is_none());
    assert!(purse.at_hand(&request("GET", "http://a/thing", "this"), 0).is_some());
}

#[test]
fn headers_that_say_nonsense_are_no_receipt_and_no_challenge() {
    let (mut gate, purse) = (Gate::new(), purse(Limits::default(), DEPOSIT, 0));
    let offer = gate.offer(&purse, purse.mark());
    let good = gate.answer(&offer);
    for (name, value) in [
        (PAYMENT_RECEIPT, HeaderValue::from_static("e30")),
        (PAYMENT_NEXT, HeaderValue::from_static("id=")),
    ] {
        let mut headers = good.clone();
        headers.insert(&name, value);
        let receipt = sign(&purse, &offer).unwrap().answered(&headers);
        assert_eq!(receipt.is_none(), name == PAYMENT_RECEIPT);
        assert_eq!(purse.at_hand(&get(), 0).is_none(), name == PAYMENT_NEXT);
    }
}

/// What a request of the property below is at.
enum Stage {
    Asking(Amount),
    Offered(Box<Offer>),
    OnItsWay(Box<Offer>, Draft),
    Taken(Box<Offer>, Draft),
    Answered(HeaderMap, Draft),
}

proptest! {
    /// Any interleaving of what is asked, signed, delivered, given back and answered.
    #[test]
    fn no_request_of_a_purse_that_knows_the_price_is_refused_and_none_costs_more_than_it(
        choices in prop::collection::vec((any::<prop::sample::Index>(), 0..10_u8), 1..400),
    ) {
        let (mut gate, purse) = (Gate::new(), purse(Limits::default(), DEPOSIT, 0));
        let mut stages: Vec<Stage> = Vec::new();
        let mut begun = 0_i128;
        for (index, dice) in choices {
            if stages.is_empty() || (dice < 3 && stages.len() < 16) {
                // Until the price is known, one request at a time.
                if begun > 0 && purse.books().places.is_empty() {
                    continue;
                }
                begun += 1;
                stages.push(match purse.at_hand(&get(), 0) {
                    Some(offer) => Stage::Offered(Box::new(offer)),
                    None => Stage::Asking(purse.mark()),
                });
                continue;
            }
            let at = index.index(stages.len());
            let next = match stages.swap_remove(at) {
                Stage::Asking(since) => Stage::Offered(Box::new(gate.offer(&purse, since))),
                Stage::Offered(offer) => {
                    let before = purse.signed();
                    let draft = sign(&purse, &offer).unwrap();
                    let cost = draft.commitment.amount.less(before).units();
                    prop_assert!((1..=PRICE).contains(&cost), "{cost}");
                    Stage::OnItsWay(offer, draft)
                }
                Stage::OnItsWay(offer, draft) => {
                    let outcome = gate.take(&offer, &draft);
                    prop_assert!(matches!(outcome, Reserving::Reserved(_)), "{outcome:?}");
                    Stage::Taken(offer, draft)
                }
                Stage::Taken(offer, draft) => {
                    let token = Gate::token(&offer);
                    if dice == 9 {
                        gate.account.give_back(token, true).unwrap();
                        Stage::Answered(HeaderMap::new(), draft)
                    } else {
                        gate.account.keep(token, 200).unwrap();
                        Stage::Answered(gate.answer(&offer), draft)
                    }
                }
                Stage::Answered(headers, draft) => {
                    draft.answered(&headers);
                    continue;
                }
            };
            stages.push(next);
        }
    }

    /// A purse that does not know the price, since all that it sees is discounted, is told by a refusal at worst.
    #[test]
    fn a_purse_that_starts_with_credit_pays_within_three_tries(
        given in 1..PRICE * 3, width in 1..12_usize,
    ) {
        let mut gate = Gate::new();
        let first = purse(Limits::default(), DEPOSIT, 0);
        let offer = Offer::read(&gate.ask(Amount::ZERO, amount(given)), first.terms(), Amount::ZERO);
        let offer = offer.unwrap();
        let draft = sign(&first, &offer).unwrap();
        prop_assume!(matches!(gate.take(&offer, &draft), Reserving::Reserved(_)) || given < PRICE);
        drop(draft);

        let purse = purse(Limits::default(), DEPOSIT, first.signed().units());
        let mut waiting: Vec<_> = (0..width).map(|_| gate.offer(&purse, purse.mark())).collect();
        for _ in 0..width + 2 {
            let drafts: Vec<_> = waiting.drain(..).map(|offer| {
                let draft = sign(&purse, &offer).unwrap();
                (offer, draft)
            }).collect();
            for (offer, draft) in drafts {
                match gate.take(&offer, &draft) {
                    Reserving::Reserved(_) => {
                        gate.account.keep(Gate::token(&offer), 200).unwrap();
                        draft.answered(&gate.answer(&offer));
                    }
                    Reserving::Refused(Unfit::Short { .. }) => {
                        let since = draft.mark_if_refused();
                        draft.refused();
                        waiting.push(gate.offer(&purse, since));
                    }
                    outcome => prop_assert!(false, "{outcome:?}"),
                }
            }
        }
        prop_assert!(waiting.is_empty(), "{} wait still", waiting.len());
    }
}
