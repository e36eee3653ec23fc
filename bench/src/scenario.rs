//! What is asked of every contestant.

use clap::ValueEnum;

/// A scenario; all of them use 10 000 users, a browser's fields and keep-alive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Scenario {
    /// GETs answered with 1 KiB over 64 connections.
    Base,
    /// GETs answered with 64 KiB.
    #[value(name = "answer64KiB")]
    Answer64KiB,
    /// POSTs of 16 KiB, answered with 1 KiB.
    #[value(name = "post16KiB")]
    Post16KiB,
    /// The base case over 512 connections.
    #[value(name = "connections512")]
    Connections512,
    /// One client's GETs, beside another that sends an endless body in chunks of one byte as fast as it can.
    #[value(name = "fastSender")]
    FastSender,
    /// The base case at half load: an open loop at half of the first contestant's throughput.
    #[value(name = "halfLoad")]
    HalfLoad,
}

impl Scenario {
    pub(crate) const ALL: [Self; 6] = [
        Self::Base,
        Self::Answer64KiB,
        Self::Post16KiB,
        Self::Connections512,
        Self::FastSender,
        Self::HalfLoad,
    ];

    /// Its key in the result document.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Base => "contestants",
            Self::Answer64KiB => "answer64KiB",
            Self::Post16KiB => "post16KiB",
            Self::Connections512 => "connections512",
            Self::FastSender => "fastSender",
            Self::HalfLoad => "halfLoad",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Base => "GET, 1 KiB answers, 64 connections",
            Self::Answer64KiB => "GET, 64 KiB answers, 64 connections",
            Self::Post16KiB => "POST of 16 KiB, 1 KiB answers, 64 connections",
            Self::Connections512 => "GET, 1 KiB answers, 512 connections",
            Self::FastSender => {
                "GET, 1 KiB answers, 1 connection beside a fast sender of one-byte chunks"
            }
            Self::HalfLoad => "GET, 1 KiB answers, 64 connections, open loop at half load",
        }
    }

    /// Requests come on a schedule, not with the answers: the proxy is not full.
    pub(crate) fn is_open_loop(self) -> bool {
        self == Self::HalfLoad
    }

    pub(crate) fn connections(self) -> usize {
        match self {
            Self::Connections512 => 512,
            Self::FastSender => 1,
            _ => 64,
        }
    }

    /// Bytes of request body.
    pub(crate) fn post(self) -> usize {
        if self == Self::Post16KiB {
            16 * 1024
        } else {
            0
        }
    }

    /// Bytes of answer body.
    pub(crate) fn answer(self) -> usize {
        if self == Self::Answer64KiB {
            64 * 1024
        } else {
            1024
        }
    }
}
