//! `halftone split`: who would be on which side. The same bucket and comparison as the proxies', for a list.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use halftone_api::Plan;
use halftone_routing::bucket::Salt;
use halftone_routing::document::units::Ratio;
use serde::Serialize;

use crate::args::SplitArguments;
use crate::manifests;
use crate::output::{self, CommandError};

/// The longest line that is taken for an identity; a longer one is no list of identities.
const LONGEST: usize = 64 * 1024;

/// Runs the command.
pub(crate) fn run(arguments: &SplitArguments) -> Result<(), CommandError> {
    if arguments.file == arguments.identities && arguments.file == Path::new("-") {
        return Err(CommandError::new(
            "release and identities cannot both come from standard input",
        )
        .advise("write one of the two into a file"));
    }
    let plan = manifests::one(&arguments.file, arguments.release.as_deref())?;
    let salt = salt(&plan);
    let ratio = arguments.ratio.unwrap_or_else(|| plan.target());
    let mut out = output::stdout();
    let mut tally = SplitTally {
        identities: 0,
        gray: 0,
    };
    each_line(&arguments.identities, |identity| {
        let gray = salt.bucket(identity).is_gray(ratio);
        tally.identities += 1;
        tally.gray += u64::from(gray);
        if arguments.list {
            out.write_all(if gray { b"gray\t" } else { b"stable\t" })?;
            out.write_all(identity)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })?;
    if arguments.printed.is_data() {
        arguments.printed.write(&mut out, &tally.sum(ratio))?;
    } else if !arguments.list {
        tally.tell(&mut out, ratio)?;
    }
    Ok(out.flush()?)
}

/// The salt of a plan's split: the release id, or the one it names.
fn salt(plan: &Plan) -> Salt {
    match &plan.identity.salt {
        Some(salt) => Salt::new(salt),
        None => Salt::new(&plan.id.to_string()),
    }
}

struct SplitTally {
    identities: u64,
    gray: u64,
}

/// What `--json` prints; share and target in percent.
#[derive(Serialize)]
struct SplitSummary {
    identities: u64,
    gray: u64,
    share: f64,
    target: f64,
}

impl SplitTally {
    fn sum(&self, ratio: Ratio) -> SplitSummary {
        SplitSummary {
            identities: self.identities,
            gray: self.gray,
            share: self.share() * 100.0,
            target: ratio.fraction() * 100.0,
        }
    }

    fn share(&self) -> f64 {
        if self.identities == 0 {
            0.0
        } else {
            self.gray as f64 / self.identities as f64
        }
    }

    fn tell(&self, out: &mut impl Write, ratio: Ratio) -> Result<(), CommandError> {
        let Self { identities, gray } = self;
        if *identities == 0 {
            return Err(CommandError::new("the list has no identities")
                .advise("write one identity per line"));
        }
        let (share, target) = (self.share(), ratio.fraction());
        let deviation = (target * (1.0 - target) / *identities as f64).sqrt();
        writeln!(
            out,
            "{gray} of {identities} identities are gray: {:.4}% for a target of {ratio}",
            share * 100.0
        )?;
        let off = (share - target) * 100.0;
        if deviation > 0.0 {
            let sigmas = (share - target).abs() / deviation;
            writeln!(
                out,
                "off by {off:+.4} points, {sigmas:.1} standard deviations of a fair split"
            )?;
        }
        Ok(())
    }
}

/// Every line that is not empty, without its line end. Identities are bytes: no encoding is asked for.
fn each_line(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), CommandError> {
    let name = path.display();
    let unreadable = |error| CommandError::new(manifests::unreadable(path, &error));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(unreadable)?)
    };
    let mut reader = BufReader::with_capacity(1 << 16, source);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = (&mut reader)
            .take(LONGEST as u64 + 2)
            .read_until(b'\n', &mut line);
        if read.map_err(unreadable)? == 0 {
            break;
        }
        let identity = line.strip_suffix(b"\n").unwrap_or(&line);
        let identity = identity.strip_suffix(b"\r").unwrap_or(identity);
        if identity.len() > LONGEST {
            return Err(CommandError::new(format!(
                "{name}:{number}: a line of more than {LONGEST} bytes"
            ))
            .advise("write one identity per line"));
        }
        if !identity.is_empty() {
            each(identity)?;
        }
    }
    Ok(())
}
