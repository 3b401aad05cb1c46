use std::time::Duration;

use super::*;
use crate::protocol::{
    channel::{balance_key, instance_key},
    commitment::CommitmentSeed,
    stellar::AccountId,
};

const CHANNEL: ContractId = ContractId([2; 32]);
const TOKEN: ContractId = ContractId([5; 32]);
const PAYER: Address = Address::Account(AccountId([3; 32]));
const PAYEE: Address = Address::Account(AccountId([4; 32]));
const CODE: [u8; 32] = [7; 32];
const LEDGER: u32 = 1_000;

/// All that a channel's fitness hangs on.
#[derive(Clone, Debug)]
struct Case {
    executable: xdr::ContractExecutable,
    storage: Vec<(&'static str, xdr::ScVal)>,
    balance: Option<Vec<(&'static str, xdr::ScVal)>>,
    /// Of instance, balance and code.
    live_until: [Option<u32>; 3],
}

impl Case {
    /// A channel that just meets every rule.
    fn fit() -> Self {
        let key = CommitmentSeed::from_bytes(&[1; 32]).key().to_bytes();
        Self {
            executable: xdr::ContractExecutable::Wasm(xdr::Hash(CODE)),
            storage: vec![
                ("CommitmentKey", bytes(key)),
                ("From", xdr::ScVal::Address(PAYER.to_xdr())),
                ("RefundWaitingPeriod", xdr::ScVal::U32(100)),
                ("To", xdr::ScVal::Address(PAYEE.to_xdr())),
                ("Token", xdr::ScVal::Address(TOKEN.to_xdr())),
                ("WithdrawnAmount", 300_i128.into()),
            ],
            balance: Some(balance(700, true, false)),
            live_until: [Some(LEDGER + 720), Some(LEDGER + 900), Some(LEDGER + 800)],
        }
    }

    fn with(mut self, name: &'static str, value: xdr::ScVal) -> Self {
        self.storage.retain(|(other, _)| *other != name);
        self.storage.push((name, value));
        self
    }

    fn judge(&self) -> Judged {
        let storage = self.storage.iter().map(|(name, val)| {
            let key = vec![xdr::ScVal::Symbol(symbol(name))].try_into().unwrap();
            (xdr::ScVal::Vec(Some(xdr::ScVec(key))), val.clone())
        });
        let instance = xdr::ScVal::ContractInstance(xdr::ScContractInstance {
            executable: self.executable.clone(),
            storage: Some(map(storage)),
        });
        let [of_instance, of_balance, of_code] = self.live_until;
        let instance = entry(&instance_key(CHANNEL), instance, of_instance);
        let balance = self.balance.as_ref().map(|members| {
            let members = members.iter();
            let members =
                members.map(|(name, val)| (xdr::ScVal::Symbol(symbol(name)), val.clone()));
            let val = xdr::ScVal::Map(Some(map(members)));
            entry(&balance_key(TOKEN, CHANNEL), val, of_balance)
        });
        let found = Found {
            ledger: LEDGER,
            instance: Some(&instance),
            balance: balance.as_ref(),
            code_live_until: of_code,
        };
        judge(CHANNEL, &settings(), &found)
    }
}

fn settings() -> Settings {
    Settings {
        code: vec![[6; 32], CODE],
        min_refund_waiting_ledgers: 100,
        max_state_age: Duration::from_secs(30),
    }
}

fn balance(units: i128, authorized: bool, clawback: bool) -> Vec<(&'static str, xdr::ScVal)> {
    vec![
        ("amount", units.into()),
        ("authorized", xdr::ScVal::Bool(authorized)),
        ("clawback", xdr::ScVal::Bool(clawback)),
    ]
}

fn symbol(name: &str) -> xdr::ScSymbol {
    xdr::ScSymbol(name.try_into().unwrap())
}

fn bytes(bytes: [u8; 32]) -> xdr::ScVal {
    xdr::ScVal::Bytes(xdr::ScBytes(bytes.try_into().unwrap()))
}

fn map(members: impl Iterator<Item = (xdr::ScVal, xdr::ScVal)>) -> xdr::ScMap {
    let members: Vec<_> = members.map(|(key, val)| xdr::ScMapEntry { key, val }).collect();
    xdr::ScMap(members.try_into().unwrap())
}

fn entry(key: &xdr::LedgerKey, val: xdr::ScVal, live_until: Option<u32>) -> LiveEntry {
    let xdr::LedgerKey::ContractData(at) = key.clone() else { unreachable!() };
    let data = xdr::ContractDataEntry {
        ext: xdr::ExtensionPoint::V0,
        contract: at.contract,
        key: at.key,
        durability: at.durability,
        val,
    };
    LiveEntry { data: xdr::LedgerEntryData::ContractData(data), live_until }
}

#[test]
fn a_fit_channel_is_seen_as_it_is() {
    let judged = Case::fit().judge();
    let view = View {
        channel: CHANNEL,
        token: TOKEN,
        payee: PAYEE,
        payer: PAYER,
        key: CommitmentSeed::from_bytes(&[1; 32]).key(),
        balance: Amount::from_units(700).unwrap(),
        is_balance_known: true,
        withdrawn: Amount::from_units(300).unwrap(),
        refund_waiting_ledgers: 100,
        close_effective_at: None,
        live_until: LEDGER + 720,
        ledger: LEDGER,
    };
    assert_eq!(judged, Judged { ledger: LEDGER, view: Some(view.clone()), unfit: None });
    assert_eq!(view.deposited().units(), 1_000);
    assert_eq!((view.lives_on(), view.ends_soon()), (720, true));
}

#[test]
fn each_rule_has_its_refusal() {
    let fit = Case::fit;
    let unreadable = |name| Unfit::Unreadable(channel::Error::Member(name));
    let wasm = |code| xdr::ContractExecutable::Wasm(xdr::Hash(code));
    // A point of order two, and one that is written above the field's prime.
    let (mut small, mut high) = ([0xff; 32], [0xff; 32]);
    (small[0], small[31], high[0], high[31]) = (0xec, 0x7f, 0xf0, 0x7f);
    let no_token = Case {
        storage: fit().storage.into_iter().filter(|(name, _)| *name != "Token").collect(),
        ..fit()
    };
    let own_balance = vec![("balance", 700_i128.into())];
    let expiring = |live_until| Unfit::Expiring { live_until, ledger: LEDGER, least: 720 };
    let lives = |live_until| Case { live_until, ..fit() };
    let [long, short] = [Some(LEDGER + 900), Some(LEDGER + 719)];
    for (case, unfit) in [
        (Case { executable: wasm([8; 32]), ..fit() }, Unfit::Code([8; 32])),
        // What code that nobody trusts says of itself is beside the point.
        (Case { executable: wasm([8; 32]), ..no_token.clone() }, Unfit::Code([8; 32])),
        (
            Case { executable: xdr::ContractExecutable::StellarAsset, ..fit() },
            Unfit::Unreadable(channel::Error::NoCode),
        ),
        (no_token, unreadable("Token")),
        (fit().with("WithdrawnAmount", (-1_i128).into()), unreadable("WithdrawnAmount")),
        (fit().with("CommitmentKey", bytes([0; 32])), Unfit::Key),
        (fit().with("CommitmentKey", bytes(small)), Unfit::Key),
        (fit().with("CommitmentKey", bytes(high)), Unfit::Key),
        (
            fit().with("RefundWaitingPeriod", xdr::ScVal::U32(99)),
            Unfit::Waiting { ledgers: 99, least: 100 },
        ),
        (
            fit().with("CloseEffectiveAtLedger", xdr::ScVal::U32(5)),
            Unfit::Closing { effective_at: 5 },
        ),
        (
            fit().with("CloseEffectiveAtLedger", xdr::ScVal::U32(u32::MAX)),
            Unfit::Closing { effective_at: u32::MAX },
        ),
        (Case { balance: None, ..fit() }, Unfit::NoBalance),
        (
            Case { balance: Some(own_balance), ..fit() },
            Unfit::Token(channel::Error::Member("amount")),
        ),
        (Case { balance: Some(balance(700, false, false)), ..fit() }, Unfit::Frozen),
        (lives([short, long, long]), expiring(LEDGER + 719)),
        (lives([long, short, long]), expiring(LEDGER + 719)),
        (lives([long, long, short]), expiring(LEDGER + 719)),
        // Code that is not there, and entries whose life is not told.
        (lives([long, long, None]), expiring(0)),
        (lives([None, long, long]), expiring(0)),
        // Archived, and still told of.
        (lives([long, Some(LEDGER - 1), long]), expiring(LEDGER - 1)),
    ] {
        assert_eq!(case.judge().unfit, Some(unfit), "{case:?}");
    }
    let nothing =
        Found { ledger: LEDGER, instance: None, balance: None, code_live_until: Some(9_000) };
    let judged = judge(CHANNEL, &settings(), &nothing);
    assert_eq!(judged, Judged { ledger: LEDGER, view: None, unfit: Some(Unfit::Missing) });
}

#[test]
fn each_rule_lets_the_rest_pass() {
    for case in [
        Case { executable: xdr::ContractExecutable::Wasm(xdr::Hash([6; 32])), ..Case::fit() },
        Case::fit().with("RefundWaitingPeriod", xdr::ScVal::U32(u32::MAX)),
        Case::fit().with("WithdrawnAmount", 0_i128.into()),
        Case::fit().with("SomethingNew", xdr::ScVal::Void),
        Case { balance: Some(balance(0, true, false)), ..Case::fit() },
        // Whoever takes an asset trusts its issuer, clawback or not.
        Case { balance: Some(balance(700, true, true)), ..Case::fit() },
    ] {
        let judged = case.judge();
        assert!(judged.view.is_some() && judged.unfit.is_none(), "{case:?}: {judged:?}");
    }
}

#[test]
fn a_channel_that_is_not_fit_is_still_seen_where_it_can_be() {
    let closing = Case::fit().with("CloseEffectiveAtLedger", xdr::ScVal::U32(5)).judge();
    assert_eq!(closing.view.unwrap().close_effective_at, Some(5));
    let distrusted =
        Case { executable: xdr::ContractExecutable::Wasm(xdr::Hash([8; 32])), ..Case::fit() };
    assert_eq!(distrusted.judge().view.unwrap().balance.units(), 700);
}

#[test]
fn deposits_beyond_any_money_count_as_what_is_there() {
    let most = Case { balance: Some(balance(i128::MAX, true, false)), ..Case::fit() };
    assert_eq!(most.judge().view.unwrap().deposited().units(), i128::MAX);
}

#[test]
fn a_refusal_tells_the_rule_and_what_mends_it() {
    let unfit = Unfit::Waiting { ledgers: 10, least: 100 };
    let text = "the channel's refund waiting period is 10 ledgers, and 100 are asked for at least: open one that waits \
                longer";
    assert_eq!(unfit.to_string(), text);
    assert!(Unfit::Code([0xab; 32]).to_string().contains(&"ab".repeat(32)));
    for unfit in [Unfit::NoBalance, Unfit::Token(channel::Error::OtherEntry)] {
        assert!(unfit.to_string().contains("Stellar Asset Contract"));
    }
}
