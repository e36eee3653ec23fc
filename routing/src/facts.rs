//! What is known of one request while it is decided: its parts, and what follows from them, each worked out at most
//! once and only if something asks.

use std::{
    cell::{Cell, OnceCell},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    client_address::client_address,
    effort::Effort,
    identity::{Identity, Sources},
    request::Request,
};

/// What is known of one request.
pub(crate) struct RequestFacts<'v, 'q> {
    pub(crate) request: &'v Request<'q>,
    /// What comparing it may still take.
    pub(crate) effort: Effort,
    trusted: &'v [IpNet],
    pub(crate) sources: &'v Sources,
    /// Somebody has asked for a field already.
    searched: Cell<bool>,
    names: OnceCell<u64>,
    cookies: OnceCell<u64>,
    client_ip: OnceCell<IpAddr>,
    pub(crate) identity: OnceCell<Option<Identity<'q>>>,
}

impl<'v, 'q> RequestFacts<'v, 'q> {
    pub(crate) fn new(
        request: &'v Request<'q>,
        trusted: &'v [IpNet],
        sources: &'v Sources,
    ) -> Self {
        Self {
            request,
            effort: Effort::new(),
            trusted,
            sources,
            searched: Cell::new(false),
            names: OnceCell::new(),
            cookies: OnceCell::new(),
            client_ip: OnceCell::new(),
            identity: OnceCell::new(),
        }
    }

    /// The identity, if something asked for it.
    pub(crate) fn into_identity(self) -> Option<Identity<'q>> {
        self.identity.into_inner().flatten()
    }

    /// Whose address the request comes from.
    pub(crate) fn client_ip(&self) -> IpAddr {
        let request = self.request;
        *self
            .client_ip
            .get_or_init(|| client_address(request.peer, self.trusted, request.fields))
    }

    /// Bytes of all its cookies, each of which is looked at for every condition on one.
    pub(crate) fn cookie_bytes(&self) -> u64 {
        let bytes = || {
            self.request
                .field_values("cookie")
                .map(|value| value.len() as u64)
                .sum()
        };
        *self.cookies.get_or_init(bytes)
    }

    /// Whether a field of this name may be there. Rules mostly ask for fields that are not, so one look at all names
    /// spares each of them a search: a Bloom filter of 64 bits and one hash. Who asks first searches without it: where
    /// it is the only one, as for an identity in the first field looked for, the filter would cost more than it spares.
    pub(crate) fn may_have(&self, name: &str) -> bool {
        if !self.searched.replace(true) {
            return true;
        }
        let seen = || {
            self.request
                .fields
                .iter()
                .fold(0, |seen, field| seen | bit(field.name))
        };
        self.names.get_or_init(seen) & bit(name.as_bytes()) != 0
    }
}

/// One of 64 bits by a name's length and ends, without regard to case: in ASCII letters differ by one bit in it.
fn bit(name: &[u8]) -> u64 {
    let ([first, ..], [.., last]) = (name, name) else {
        return 0;
    };
    let ends = u32::from(first | 0x20) * 5 + u32::from(last | 0x20) * 11;
    1 << ((name.len() as u32 * 19 + ends) % 64)
}
