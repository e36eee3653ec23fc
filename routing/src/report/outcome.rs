//! How requests end: one table of words, who answers for each, and which of 0.1's words stands for a newer one.

use serde::Serialize;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident $word:literal $fault:ident $($old:ident)?,)*) => {
        /// How a request ended; exactly one for each, when it is known.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Outcome {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Outcome {
            /// All, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in reports, metrics and logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The outcome of that name; none for a word of a newer version.
            pub fn from_name(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }

            /// Who answers for it.
            pub const fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }

            /// The same in 0.1's words, for readers that know no others; charged to the same.
            #[must_use]
            pub const fn in_0_1(self) -> Self {
                match self { $(Self::$name => outcomes!(@in_0_1 $name $($old)?),)* }
            }
        }
    };
    (@in_0_1 $name:ident) => { Self::$name };
    (@in_0_1 $name:ident $old:ident) => { Self::$old };
}

/// Who answers for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The arm answered, and it is no error.
    Answer,
    /// An error of the arm.
    Error,
    /// Neither: the client, the request itself or this proxy. Counted and never judged.
    Nobody,
}

// Word, whose fault it is, and the word that 0.1 gets to read instead, where 0.1 does not have it. A new row needs that last
// column: a reader of 0.1 drops a whole report over one word that it does not know.
outcomes! {
    /// 2xx, and 101.
    Status2xx "2xx" Answer,
    /// 3xx.
    Status3xx "3xx" Answer,
    /// 4xx without 429: a client error.
    Status4xx "4xx" Answer,
    /// 429.
    Status429 "429" Answer,
    /// 5xx that is none of the release's `errorStatuses`.
    Status5xx "5xx" Answer,
    /// One of the release's `errorStatuses`.
    ErrorStatus "errorStatus" Error,
    /// No connection could be made, further tries included.
    ConnectFailure "connectFailure" Error,
    /// No response head in time.
    ResponseTimeout "responseTimeout" Error,
    /// The connection was lost before the response head was complete.
    Reset "reset" Error,
    /// The response was not HTTP.
    MalformedResponse "malformedResponse" Error,
    /// The response's body broke off.
    BodyBrokenOff "bodyBrokenOff" Error,
    /// The response's body stood still for too long.
    BodyIdle "bodyIdle" Error,
    /// The arm was busy with `maxInFlight` requests.
    Overload "overload" Error,
    /// The arm had no endpoint at all.
    NoEndpoint "noEndpoint" Error,
    /// The client left before the response head, after a wait that stable's clients hardly ever have.
    Abandoned "abandoned" Error,
    /// The client left otherwise.
    ClientAbort "clientAbort" Nobody,
    /// The client was too slow.
    ClientTimeout "clientTimeout" Nobody,
    /// Refused by the proxy with 400.
    Refused400 "refused400" Nobody,
    /// Refused by the proxy with 403, or another `rejectStatus`.
    Refused403 "refused403" Nobody,
    /// Refused by the proxy with 404.
    Refused404 "refused404" Nobody,
    /// Refused by the proxy with 405.
    Refused405 "refused405" Nobody,
    /// Refused by the proxy with 408.
    Refused408 "refused408" Nobody,
    /// Refused by the proxy with 413.
    Refused413 "refused413" Nobody Refused400,
    /// Refused by the proxy with 414.
    Refused414 "refused414" Nobody,
    /// Refused by the proxy with 417.
    Refused417 "refused417" Nobody,
    /// Refused by the proxy with 431.
    Refused431 "refused431" Nobody,
    /// Refused by the proxy with 505.
    Refused505 "refused505" Nobody Refused400,
    /// No place was left but for requests that their clients had not finished, or for open tunnels.
    Crowded "crowded" Nobody OwnFault,
    /// This proxy ran out of descriptors, ports or memory.
    OwnFault "ownFault" Nobody,
    /// Cut by this proxy's shutdown.
    Shutdown "shutdown" Nobody,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of 0.1 knows. Never to be added to.
    const WORDS_OF_0_1: [&str; 27] = [
        "2xx",
        "3xx",
        "4xx",
        "429",
        "5xx",
        "errorStatus",
        "connectFailure",
        "responseTimeout",
        "reset",
        "malformedResponse",
        "bodyBrokenOff",
        "bodyIdle",
        "overload",
        "noEndpoint",
        "abandoned",
        "clientAbort",
        "clientTimeout",
        "refused400",
        "refused403",
        "refused404",
        "refused405",
        "refused408",
        "refused414",
        "refused417",
        "refused431",
        "ownFault",
        "shutdown",
    ];

    #[test]
    fn every_outcome_has_a_word_of_0_1_that_is_charged_to_the_same() {
        for outcome in Outcome::ALL {
            let old = outcome.in_0_1();
            assert!(
                WORDS_OF_0_1.contains(&old.name()),
                "{} reads {} to 0.1",
                outcome.name(),
                old.name()
            );
            assert_eq!(old.fault(), outcome.fault(), "{}", outcome.name());
            assert_eq!(
                old == *outcome,
                WORDS_OF_0_1.contains(&outcome.name()),
                "{}",
                outcome.name()
            );
            assert_eq!(Outcome::from_name(outcome.name()), Some(*outcome));
        }
    }
}
