//! `corpus unpack TARGET DIRECTORY` writes the kept inputs as files for libFuzzer; `corpus keep TARGET
//! DIRECTORY` makes the files of a directory the kept inputs.

use std::fs;
use std::process::ExitCode;

mod corpus;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, target, directory] = &arguments[..] else {
        eprintln!("usage: corpus unpack|keep TARGET DIRECTORY");
        return ExitCode::from(2);
    };
    let done = match &**command {
        "unpack" => corpus::read(target).and_then(|inputs| {
            fs::create_dir_all(directory)?;
            for (number, input) in inputs.iter().enumerate() {
                fs::write(format!("{directory}/kept-{number:05}"), input)?;
            }
            Ok(inputs.len())
        }),
        "keep" => fs::read_dir(directory).and_then(|files| {
            let inputs: Result<Vec<_>, _> = files.map(|file| fs::read(file?.path())).collect();
            let inputs = inputs?;
            let count = inputs.len();
            fs::write(corpus::file("corpus", target), corpus::text(inputs))?;
            Ok(count)
        }),
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(count) => println!("{target}: {count} inputs"),
        Err(error) => {
            eprintln!("{target}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
