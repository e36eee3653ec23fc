//! A set of networks that can be asked for an address, for `InCidr` with its up to 256 values. Sorted ranges after merging what
//! overlaps; a binary search finds the only range that can hold an address.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of networks. IPv4-mapped IPv6 addresses count as IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    /// Whether one of the networks has this address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => holds(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => holds(&self.v6, v6.to_bits()),
        }
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        let v4 = Ipv4Net::aggregate(&v4).into_iter();
        let v6 = Ipv6Net::aggregate(&v6).into_iter();
        Self {
            v4: sorted(
                v4.map(|network| (network.network().to_bits(), network.broadcast().to_bits())),
            ),
            v6: sorted(
                v6.map(|network| (network.network().to_bits(), network.broadcast().to_bits())),
            ),
        }
    }
}

fn sorted<N: Ord>(ranges: impl Iterator<Item = (N, N)>) -> Box<[(N, N)]> {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_unstable();
    ranges.into()
}

fn holds<N: Ord + Copy>(ranges: &[(N, N)], address: N) -> bool {
    let beyond = ranges.partition_point(|(first, _)| *first <= address);
    beyond
        .checked_sub(1)
        .is_some_and(|at| address <= ranges[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_network() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u32>(), 0_u8..=32).prop_map(|(bits, prefix)| {
            Ipv4Net::new(bits.into(), prefix)
                .expect("prefix")
                .trunc()
                .into()
        });
        let v6 = (any::<u128>(), 0_u8..=128).prop_map(|(bits, prefix)| {
            Ipv6Net::new(bits.into(), prefix)
                .expect("prefix")
                .trunc()
                .into()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn an_address_is_in_the_set_exactly_if_it_is_in_a_network(
            networks in prop::collection::vec(any_network(), 0..12), v4: u32, v6: u128, pick: prop::sample::Index,
        ) {
            let set: Networks = networks.iter().copied().collect();
            let mut addresses = vec![IpAddr::V4(v4.into()), IpAddr::V6(v6.into())];
            if !networks.is_empty() {
                let network = networks[pick.index(networks.len())];
                addresses.extend([network.network(), network.broadcast()]);
            }
            for address in addresses {
                let address = address.to_canonical();
                let expected = networks.iter().any(|network| network.contains(&address));
                prop_assert_eq!(set.contains(address), expected, "{}", address);
            }
        }
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let set: Networks = ["10.0.0.0/8".parse().expect("network")]
            .into_iter()
            .collect();
        assert!(set.contains("::ffff:10.1.2.3".parse().expect("address")));
        assert!(!set.contains("::10.1.2.3".parse().expect("address")));
    }
}
