//! `-o`: how a command prints. `--json` is kept as the same as `-o json`.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::output::{self, CommandError};

/// For commands with one thing to print.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct OutputArguments {
    /// Print for programs
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        conflicts_with = "json"
    )]
    output: Option<DataFormat>,
    /// The same as -o json
    #[arg(long)]
    json: bool,
}

/// What programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DataFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl OutputArguments {
    /// Whether a program reads.
    pub(crate) fn is_data(self) -> bool {
        self.json || self.output.is_some()
    }

    /// Prints a value for a program.
    pub(crate) fn write(
        self,
        out: &mut impl Write,
        value: &impl Serialize,
    ) -> Result<(), CommandError> {
        write(self.output, out, value)
    }
}

/// For commands that list releases.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ListOutputArguments {
    /// Print more columns, the names alone, or for programs
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        conflicts_with = "json"
    )]
    output: Option<ListFormat>,
    /// The same as -o json
    #[arg(long)]
    json: bool,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// More columns
    Wide,
    /// grayrelease.halftone.dev/NAME, one a line
    Name,
}

impl ListOutputArguments {
    /// Whether a program reads objects.
    pub(crate) fn is_data(self) -> bool {
        self.json || matches!(self.output, Some(ListFormat::Json | ListFormat::Yaml))
    }

    /// Whether there are to be more columns.
    pub(crate) fn is_wide(self) -> bool {
        self.output == Some(ListFormat::Wide)
    }

    /// Whether names alone are asked for.
    pub(crate) fn is_names(self) -> bool {
        self.output == Some(ListFormat::Name)
    }

    /// Prints a value for a program.
    pub(crate) fn write(
        self,
        out: &mut impl Write,
        value: &impl Serialize,
    ) -> Result<(), CommandError> {
        let format = if self.output == Some(ListFormat::Yaml) {
            DataFormat::Yaml
        } else {
            DataFormat::Json
        };
        write(Some(format), out, value)
    }
}

fn write(
    format: Option<DataFormat>,
    out: &mut impl Write,
    value: &impl Serialize,
) -> Result<(), CommandError> {
    match format {
        None | Some(DataFormat::Json) => output::json(out, value),
        Some(DataFormat::Yaml) => {
            let value = serde_json::to_value(value).map_err(std::io::Error::from)?;
            Ok(write!(out, "{}", halftone_api::manifest::to_yaml(&value))?)
        }
    }
}
