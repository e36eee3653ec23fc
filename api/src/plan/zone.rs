//! Names of time zones: what to write for one that the database does not have. A wrong zone moves a window by hours
//! without a word, so a name is offered only where it means the same: never by likeness for an abbreviation or offset.

use jiff::tz::TimeZoneDatabase;

/// Abbreviations in use, with the places they may mean.
const ABBREVIATIONS: [(&str, &[&str]); 34] = [
    ("ACST", &["Australia/Adelaide", "Australia/Darwin"]),
    ("AEDT", &["Australia/Sydney"]),
    ("AEST", &["Australia/Sydney", "Australia/Brisbane"]),
    ("AST", &["America/Halifax", "Asia/Riyadh"]),
    ("AWST", &["Australia/Perth"]),
    ("BRT", &["America/Sao_Paulo"]),
    ("BST", &["Europe/London", "Asia/Dhaka"]),
    ("CDT", &["America/Chicago", "America/Havana"]),
    ("CEST", &["Europe/Berlin", "Europe/Paris"]),
    (
        "CST",
        &["Asia/Shanghai", "America/Chicago", "America/Havana"],
    ),
    ("EAT", &["Africa/Nairobi"]),
    ("EDT", &["America/New_York"]),
    ("EEST", &["Europe/Helsinki", "Europe/Kyiv"]),
    ("GST", &["Asia/Dubai"]),
    ("HKT", &["Asia/Hong_Kong"]),
    ("ICT", &["Asia/Bangkok", "Asia/Ho_Chi_Minh"]),
    ("IST", &["Asia/Kolkata", "Europe/Dublin", "Asia/Jerusalem"]),
    ("JST", &["Asia/Tokyo"]),
    ("KST", &["Asia/Seoul"]),
    ("MDT", &["America/Denver"]),
    ("MSK", &["Europe/Moscow"]),
    ("MYT", &["Asia/Kuala_Lumpur"]),
    ("NZDT", &["Pacific/Auckland"]),
    ("NZST", &["Pacific/Auckland"]),
    ("PDT", &["America/Los_Angeles"]),
    ("PHT", &["Asia/Manila"]),
    ("PKT", &["Asia/Karachi"]),
    ("PST", &["America/Los_Angeles", "Asia/Manila"]),
    ("SAST", &["Africa/Johannesburg"]),
    ("SGT", &["Asia/Singapore"]),
    ("TRT", &["Europe/Istanbul"]),
    ("WEST", &["Europe/Lisbon"]),
    ("WIB", &["Asia/Jakarta"]),
    ("Z", &["UTC"]),
];

/// Cities that people name and the database does not, with the place whose time they keep.
const CITIES: [(&str, &[&str]); 14] = [
    (
        "Asia/Shanghai",
        &[
            "Beijing",
            "Peking",
            "Shenzhen",
            "Guangzhou",
            "Hangzhou",
            "Chengdu",
            "Nanjing",
            "Wuhan",
        ],
    ),
    (
        "Asia/Kolkata",
        &[
            "Mumbai",
            "Delhi",
            "New_Delhi",
            "Bangalore",
            "Bengaluru",
            "Chennai",
            "Hyderabad",
        ],
    ),
    ("Asia/Tokyo", &["Osaka", "Kyoto"]),
    ("Asia/Ho_Chi_Minh", &["Hanoi"]),
    ("Asia/Dubai", &["Abu_Dhabi"]),
    (
        "Europe/Berlin",
        &["Munich", "Frankfurt", "Hamburg", "Cologne"],
    ),
    ("Europe/London", &["Manchester", "Edinburgh"]),
    ("Europe/Rome", &["Milan"]),
    ("Europe/Madrid", &["Barcelona"]),
    ("Europe/Zurich", &["Geneva", "Basel", "Bern"]),
    (
        "America/Los_Angeles",
        &["San_Francisco", "Seattle", "Portland", "San_Diego"],
    ),
    (
        "America/New_York",
        &["Washington", "Boston", "Philadelphia", "Atlanta", "Miami"],
    ),
    ("America/Chicago", &["Dallas", "Houston", "Austin"]),
    ("Australia/Sydney", &["Canberra"]),
];

/// What to write instead of `wrong`.
pub(super) fn advice(wrong: &str, zones: &TimeZoneDatabase) -> String {
    let names: Vec<String> = zones.available().map(|name| name.to_string()).collect();
    if let Some(hours) = offset(wrong) {
        return on_offset(hours);
    }
    let places = ABBREVIATIONS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(wrong))
        .map(|(_, places)| *places);
    match (
        places,
        same_city(wrong, &names).or_else(|| slip(wrong, &names)),
    ) {
        (Some([place]), _) => format!("abbreviations are ambiguous; write {place}"),
        (Some(places), _) => format!(
            "it may be any of several; write the place: {}",
            places.join(" or ")
        ),
        (None, Some(near)) => format!("did you mean {near}?"),
        (None, None) => {
            "write a name of the IANA database, such as Europe/Berlin, Asia/Shanghai or UTC"
                .to_owned()
        }
    }
}

/// Whole hours ahead of UTC, as in `GMT+2`, `UTC-05` or `+8`.
fn offset(text: &str) -> Option<i32> {
    let text = text.to_ascii_uppercase();
    let rest = text
        .strip_prefix("GMT")
        .or_else(|| text.strip_prefix("UTC"))
        .unwrap_or(&text);
    let (sign, digits) = match rest.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let hours = match digits.len() {
        1 | 2 => digits,
        4 => digits.strip_suffix("00")?,
        _ => return None,
    };
    hours
        .parse::<i32>()
        .ok()
        .filter(|hours| *hours <= 14)
        .map(|hours| sign * hours)
}

fn on_offset(hours: i32) -> String {
    let place = "name a place, such as Europe/Berlin, whose clock changes with the season";
    match hours {
        0 => "write UTC".to_owned(),
        // POSIX counts to the west, hence the sign.
        -12..=14 => format!(
            "write Etc/GMT{:+}, whose sign is reversed, or {place}",
            -hours
        ),
        _ => place.to_owned(),
    }
}

/// The zone of the same city, whatever stands before it.
fn same_city<'a>(wrong: &str, names: &'a [String]) -> Option<&'a str> {
    let city = wrong.rsplit('/').next()?.replace([' ', '-'], "_");
    let known = |name: &str| {
        names
            .iter()
            .find(|other| *other == name)
            .map(String::as_str)
    };
    let table = CITIES
        .iter()
        .find(|(_, cities)| cities.iter().any(|other| other.eq_ignore_ascii_case(&city)));
    if let Some((place, _)) = table {
        return known(place);
    }
    let mut same = names.iter().filter(|name| {
        name.rsplit_once('/')
            .is_some_and(|(region, last)| region != "Etc" && last.eq_ignore_ascii_case(&city))
    });
    same.next()
        .filter(|_| same.next().is_none() && city.len() > 3)
        .map(String::as_str)
}

/// The only zone that a slip of the pen would turn into `wrong`; of a short name each letter counts.
fn slip<'a>(wrong: &str, names: &'a [String]) -> Option<&'a str> {
    let city = wrong.rsplit_once('/')?.1;
    let most = if city.len() < 5 { 1 } else { 2 };
    let distance =
        |name: &str| strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase());
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .map(|name| (distance(name), name.as_str()))
        .filter(|(by, _)| *by <= most)
        .collect();
    near.sort_unstable();
    let (nearest, name) = *near.first()?;
    near.get(1)
        .is_none_or(|(next, _)| *next > nearest)
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_offered_only_where_it_means_the_same() {
        let zones = TimeZoneDatabase::bundled();
        for (wrong, says) in [
            ("CST", "Asia/Shanghai or America/Chicago"),
            ("PDT", "write America/Los_Angeles"),
            ("GMT+2", "write Etc/GMT-2"),
            ("UTC-0500", "write Etc/GMT+5"),
            ("+8", "write Etc/GMT-8"),
            ("UTC+0", "write UTC"),
            ("Asia/Beijing", "did you mean Asia/Shanghai?"),
            ("Beijing", "did you mean Asia/Shanghai?"),
            ("Europe/Berlni", "did you mean Europe/Berlin?"),
            ("Asia/Shangai", "did you mean Asia/Shanghai?"),
            ("Asia/Berlin", "did you mean Europe/Berlin?"),
            ("Berlin", "did you mean Europe/Berlin?"),
            ("New_York", "did you mean America/New_York?"),
            ("Mars/Base", "write a name of the IANA database"),
            ("Asia/Xyz", "write a name of the IANA database"),
            ("XST", "write a name of the IANA database"),
        ] {
            let advice = advice(wrong, &zones);
            assert!(advice.contains(says), "{wrong}: {advice}");
        }
    }

    #[test]
    fn every_place_in_the_tables_exists() {
        let zones = TimeZoneDatabase::bundled();
        let places = ABBREVIATIONS.iter().flat_map(|(_, places)| *places);
        for place in places.chain(CITIES.iter().map(|(place, _)| place)) {
            assert!(zones.get(place).is_ok(), "{place}");
        }
        for name in ABBREVIATIONS.iter().map(|(name, _)| name) {
            assert!(zones.get(name).is_err(), "{name} is a zone");
        }
    }

    #[test]
    fn an_offset_keeps_its_direction() {
        let zones = TimeZoneDatabase::bundled();
        for hours in -12..=14 {
            let advice = on_offset(hours);
            let name = advice.split([' ', ',']).nth(1).unwrap();
            let at = zones
                .get(name)
                .unwrap()
                .to_offset(jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(at.seconds(), hours * 3600, "{name}");
        }
    }
}
