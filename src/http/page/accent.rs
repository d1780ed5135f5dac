//! A tenant's colour, as a stylesheet of its own: the page has no inline style, and its policy allows none.
//!
//! The sheet is named for the colour (`accent-3b82f6.css`), so it needs no store and never changes. Whatever the colour,
//! what must be read has the contrast that WCAG 2 AA asks of text, 4.5 to 1.

use std::fmt::Write;

/// What WCAG 2 AA asks of text.
const ENOUGH: f64 = 4.5;
/// As `--paper` in `surepass.css`, where most is asked: in the light its darkest, in the dark its lightest surface.
const LIGHT_SURFACE: Color = Color([0xf1, 0xf3, 0xf6]);
const DARK_SURFACE: Color = Color([0x22, 0x28, 0x30]);
const BLACK: Color = Color([0; 3]);
const WHITE: Color = Color([0xff; 3]);

/// A colour in sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Color([u8; 3]);

impl Color {
    /// Reads six hexadecimal digits.
    pub(super) fn parse(digits: &str) -> Option<Self> {
        let mut bytes = [0; 3];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    fn hex(self) -> String {
        format!("#{}", hex::encode(self.0))
    }

    /// Relative luminance, as WCAG 2 defines it.
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|byte| {
            let part = f64::from(byte) / 255.0;
            if part <= 0.040_45 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// From 1 to 21.
    fn contrast(self, other: Self) -> f64 {
        let (one, other) = (self.luminance(), other.luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// The nearest colour on the way to `end` that can be read on `surface`.
    fn readable_on(self, surface: Self, end: Self) -> Self {
        (0..=32)
            .map(|step| self.towards(end, step))
            .find(|color| color.contrast(surface) >= ENOUGH)
            .unwrap_or(end)
    }

    /// `step` of 32 on the way to `end`.
    fn towards(self, end: Self, step: u16) -> Self {
        let mut mixed = self.0;
        for (byte, end) in mixed.iter_mut().zip(end.0) {
            let part = (u16::from(*byte) * (32 - step) + u16::from(end) * step) / 32;
            *byte = u8::try_from(part).unwrap_or(u8::MAX);
        }
        Self(mixed)
    }
}

/// The name of the sheet of a tenant's colour, `#RRGGBB`; `None`: it has none, and the page has its own.
pub(super) fn sheet_name(color: Option<&str>) -> Option<String> {
    let color = Color::parse(color?.strip_prefix('#')?)?;
    Some(format!("accent-{}.css", hex::encode(color.0)))
}

/// The sheet of this name. There is one name for each colour.
pub(super) fn sheet(name: &str) -> Option<String> {
    let digits = name.strip_prefix("accent-")?.strip_suffix(".css")?;
    let color = Color::parse(digits).filter(|color| hex::encode(color.0) == digits)?;
    let on = if color.contrast(WHITE) >= color.contrast(BLACK) {
        WHITE
    } else {
        BLACK
    };
    let mut sheet = String::new();
    let light = color.readable_on(LIGHT_SURFACE, BLACK).hex();
    let dark = color.readable_on(DARK_SURFACE, WHITE).hex();
    let (accent, on) = (color.hex(), on.hex());
    let _ = writeln!(
        sheet,
        ":root{{--accent:{accent};--on-accent:{on};--accent-ink:{light}}}"
    );
    let _ = writeln!(
        sheet,
        "@media (prefers-color-scheme:dark){{:root{{--accent-ink:{dark}}}}}"
    );
    Some(sheet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_colour_a_tenant_has_its_text_can_be_read(bytes: [u8; 3]) {
            let color = Color(bytes);
            let name = sheet_name(Some(&color.hex())).unwrap();
            let sheet = sheet(&name).unwrap();
            let color_of = |after: &str, name: &str| {
                let (_, rest) = sheet.split_once(after).unwrap();
                let (_, rest) = rest.split_once(name).unwrap();
                Color::parse(&rest[2..8]).unwrap()
            };
            let on = color_of(":root", "--on-accent");
            prop_assert!(color.contrast(on) >= ENOUGH, "{on:?}");
            let light = color_of(":root", "--accent-ink");
            prop_assert!(light.contrast(LIGHT_SURFACE) >= ENOUGH && light.contrast(WHITE) >= ENOUGH, "{light:?}");
            let dark = color_of("@media", "--accent-ink");
            let page = Color::parse("14181d").unwrap();
            prop_assert!(dark.contrast(DARK_SURFACE) >= ENOUGH && dark.contrast(page) >= ENOUGH, "{dark:?}");
        }
    }

    #[test]
    fn contrast_is_that_of_wcag() {
        let of = |one: &str, other: &str| {
            let contrast = Color::parse(one).unwrap().contrast(Color::parse(other).unwrap());
            format!("{contrast:.2}")
        };
        // As webaim.org's checker gives them.
        assert_eq!(of("000000", "ffffff"), "21.00");
        assert_eq!(of("3b82f6", "ffffff"), "3.68");
        assert_eq!(of("777777", "ffffff"), "4.48");
    }

    #[test]
    fn a_sheet_has_one_name_and_what_is_no_colour_has_none() {
        assert_eq!(sheet_name(Some("#3B82F6")).as_deref(), Some("accent-3b82f6.css"));
        for odd in [
            None,
            Some(""),
            Some("red"),
            Some("#12345"),
            Some("#1234567"),
            Some("#gg0000"),
        ] {
            assert_eq!(sheet_name(odd), None, "{odd:?}");
        }
        for odd in [
            "accent-3B82F6.css",
            "accent-.css",
            "accent-3b82f6",
            "accent-3b82f6.css.css",
            "accent-3b82f6/.css",
        ] {
            assert_eq!(sheet(odd), None, "{odd}");
        }
    }
}
