//! Questions before something is changed that can't be taken back. Without a terminal nothing is
//! asked: either `--yes` was given or nothing is done.

use dialoguer::{Confirm, Input};

use crate::{
    error::{Error, Result},
    output::Output,
};

/// What can't be taken back (such as "delete the service") needs the name typed, or `--yes`.
pub fn destruction(output: Output, action: &str, name: &str, consequence: &str) -> Result {
    if output.assumes_yes {
        return Ok(());
    }
    if !output.can_ask {
        return Err(Error::usage(
            format!("this would {action} {name}, and there is no terminal to confirm it on"),
            "repeat it with --yes if that is what you want",
        ));
    }
    output.note(&format!("This is to {action} {name}: {consequence}"))?;
    let typed: String = Input::new()
        .with_prompt(format!("Type {name} to confirm"))
        .allow_empty(true)
        .interact_text()
        .map_err(|error| unanswered(&error))?;
    if typed.trim() == name {
        Ok(())
    } else {
        Err(Error::NotConfirmed(format!(
            "\"{}\" is not {name}",
            typed.trim()
        )))
    }
}

/// A question with yes or no; `--yes` answers it.
pub fn question(output: Output, question: &str) -> Result {
    if output.assumes_yes {
        return Ok(());
    }
    if !output.can_ask {
        return Err(Error::usage(
            format!("there is no terminal to ask on: {question}"),
            "repeat it with --yes to answer yes",
        ));
    }
    let agreed = Confirm::new()
        .with_prompt(question)
        .default(true)
        .interact()
        .map_err(|error| unanswered(&error))?;
    if agreed {
        Ok(())
    } else {
        Err(Error::NotConfirmed("you answered no".to_owned()))
    }
}

/// A question without an answer (end of input, Ctrl-C) changes nothing.
pub fn unanswered(error: &dialoguer::Error) -> Error {
    let dialoguer::Error::IO(error) = error;
    match error.kind() {
        std::io::ErrorKind::Interrupted => Error::Interrupted,
        _ => Error::NotConfirmed(error.to_string()),
    }
}
