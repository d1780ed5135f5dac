//! The one place through which all that the commands print goes: these macros take the names of Rust's own.

macro_rules! println {
    () => { ::std::println!() };
    ($($text:tt)*) => { ::std::println!("{}", ::surepass::terminal::safe_lines(&::std::format!($($text)*))) };
}

macro_rules! print {
    ($($text:tt)*) => { ::std::print!("{}", ::surepass::terminal::safe_lines(&::std::format!($($text)*))) };
}

macro_rules! eprintln {
    () => { ::std::eprintln!() };
    ($($text:tt)*) => { ::std::eprintln!("{}", ::surepass::terminal::safe_lines(&::std::format!($($text)*))) };
}

/// A leading carriage return, with which progress is shown in one line, is our own.
macro_rules! eprint {
    ($($text:tt)*) => {{
        let text = ::std::format!($($text)*);
        let (start, text) = match text.strip_prefix('\r') {
            ::std::option::Option::Some(text) => ("\r", text),
            ::std::option::Option::None => ("", text.as_str()),
        };
        ::std::eprint!("{start}{}", ::surepass::terminal::safe_lines(text));
    }};
}
