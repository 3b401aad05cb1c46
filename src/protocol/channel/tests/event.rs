use super::*;

/// An event of the channel by `name`, of `members`.
fn event(name: &'static str, members: Members) -> xdr::ContractEvent {
    xdr::ContractEvent {
        ext: xdr::ExtensionPoint::V0,
        contract_id: Some(xdr::ContractId(xdr::Hash(CHANNEL.0))),
        type_: xdr::ContractEventType::Contract,
        body: xdr::ContractEventBody::V0(xdr::ContractEventV0 {
            topics: vec![named(name)].try_into().unwrap(),
            data: xdr::ScVal::Map(Some(map(members))),
        }),
    }
}

/// Every event that there is, its members in the ledger's order, and what it tells.
fn events() -> Vec<(&'static str, Members, Event)> {
    let amount = || (named("amount"), xdr::ScVal::from(500_i128));
    vec![
        (
            "open",
            vec![
                amount(),
                (named("commitment_key"), blob(&[6; 32])),
                (named("from"), of(PAYER)),
                (named("refund_waiting_period"), xdr::ScVal::U32(17_280)),
                (named("to"), of(PAYEE)),
                (named("token"), of(Address::Contract(TOKEN))),
            ],
            Event::Open {
                token: TOKEN,
                from: PAYER,
                to: PAYEE,
                amount: units(500),
                commitment_key: [6; 32],
                refund_waiting_period: 17_280,
            },
        ),
        (
            "close",
            vec![(named("effective_at_ledger"), xdr::ScVal::U32(100))],
            Event::Close { effective_at: 100 },
        ),
        (
            "withdraw",
            vec![amount(), (named("to"), of(PAYEE))],
            Event::Withdraw { amount: units(500), to: PAYEE },
        ),
        (
            "refund",
            vec![amount(), (named("from"), of(PAYER))],
            Event::Refund { amount: units(500), from: PAYER },
        ),
    ]
}

#[test]
fn every_event_is_read_whatever_the_order_of_its_members() {
    for (name, mut members, expected) in events() {
        assert_eq!(Event::read(CHANNEL, &event(name, members.clone())), Ok(Some(expected.clone())));
        members.reverse();
        members.push((named("later"), xdr::ScVal::Void));
        assert_eq!(Event::read(CHANNEL, &event(name, members)), Ok(Some(expected)));
    }
}

#[test]
fn a_member_of_an_event_that_is_missing_or_wrong_is_named() {
    for (name, members, _) in events() {
        for at in 0..members.len() {
            let mut without = members.clone();
            let (key, _) = without.remove(at);
            let missing = Event::read(CHANNEL, &event(name, without));
            let Err(Error::Member(member)) = missing else { panic!("{name}: {missing:?}") };
            assert_eq!(key, xdr::ScVal::Symbol(symbol(member)));
            let mut wrong = members.clone();
            wrong[at].1 = xdr::ScVal::Void;
            assert_eq!(Event::read(CHANNEL, &event(name, wrong)), Err(Error::Member(member)));
        }
        // What the contract told in an older form: the bare value.
        let mut bare = event(name, Vec::new());
        let xdr::ContractEventBody::V0(body) = &mut bare.body;
        body.data = xdr::ScVal::from(500_i128);
        assert_eq!(Event::read(CHANNEL, &bare), Err(Error::Member("data")));
    }
}

#[test]
fn what_is_no_event_of_the_channel_is_passed_over() {
    for (name, members, _) in events() {
        let good = event(name, members);
        assert!(Event::read(CHANNEL, &good).unwrap().is_some());
        assert_eq!(Event::read(ContractId([9; 32]), &good), Ok(None));
        let mut nobodys = good.clone();
        nobodys.contract_id = None;
        assert_eq!(Event::read(CHANNEL, &nobodys), Ok(None));
        let mut system = good.clone();
        system.type_ = xdr::ContractEventType::System;
        assert_eq!(Event::read(CHANNEL, &system), Ok(None));
        for topics in [vec![], vec![named("later")], vec![xdr::ScVal::Void], vec![named(name); 2]] {
            let mut other = good.clone();
            let xdr::ContractEventBody::V0(body) = &mut other.body;
            body.topics = topics.try_into().unwrap();
            assert_eq!(Event::read(CHANNEL, &other), Ok(None));
        }
    }
}
