//! What counts as one address, for whoever shares something out among clients.
//!
//! Knows neither what is shared out nor where an address was learnt.

use std::net::{IpAddr, Ipv6Addr};

/// The network that stands for an address: of IPv6 the half that says which network, as one client has all of it; of IPv4 the
/// address itself, however it is written.
#[must_use]
pub fn of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_counts_as_one_address_and_each_address_of_ipv4_as_itself() {
        for (address, network) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:ffff::2", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ] {
            let of = of(address.parse().unwrap());
            assert_eq!(of, network.parse::<IpAddr>().unwrap(), "{address}");
        }
    }
}
