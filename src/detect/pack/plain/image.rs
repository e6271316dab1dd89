//! A plain token as bytes that outlive the process.

use super::*;
use crate::detect::pack::bytes::{Reader, Writer};

/// Bytes of the image of a plain token.
pub const IMAGE_BYTES: usize = 80;

impl Plain {
    /// Writes its image: [`IMAGE_BYTES`], the numbers lowest byte first.
    pub fn write_image(&self, to: &mut Writer<'_>) {
        let mut image = [0; IMAGE_BYTES];
        let mut rest = &mut image[..];
        let mut put = |bytes: &[u8]| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            part.copy_from_slice(bytes);
            rest = others;
        };
        put(&self.text);
        put(&self.call);
        put(&self.fp.to_bytes());
        put(&self.raw.to_le_bytes());
        put(&self.order_and_client.to_le_bytes());
        put(&self.age.to_le_bytes());
        put(&self.progress.to_le_bytes());
        put(&self.flags.0.to_le_bytes());
        put(&[
            self.ended.map_or(0, |class| class as u8 + 1),
            self.numbers,
            self.api,
            self.scope,
        ]);
        to.bytes(&image);
    }

    /// The token of an image, if it is one that [`Plain::pack`] makes.
    pub fn read_image(from: &mut Reader<'_>, last_seen: Timestamp) -> Option<Self> {
        let plain = Self {
            text: from.array(),
            call: from.array(),
            fp: Key::from_bytes(from.array()),
            raw: u64::from_le_bytes(from.array()),
            order_and_client: u64::from_le_bytes(from.array()),
            age: u32::from_le_bytes(from.array()),
            progress: u32::from_le_bytes(from.array()),
            flags: Flags(u32::from_le_bytes(from.array())),
            ended: match usize::from(from.byte()).checked_sub(1) {
                None => None,
                Some(at) => Some(from.pick(&Class::ALL, at)),
            },
            numbers: from.byte(),
            api: from.byte(),
            scope: from.byte(),
        };
        let (by, units) = (plain.flags.get(CLOSED_BY), plain.flags.get(UNITS));
        let known = (by as usize) < ClosedBy::ALL.len() && (units as usize) < Units::ALL.len();
        (from.is_sound() && known && plain.is_what_pack_makes(last_seen)).then_some(plain)
    }

    /// Bits that no token has would be a token that nobody saw.
    fn is_what_pack_makes(&self, last_seen: Timestamp) -> bool {
        let none = NameId::from_bits(0);
        let life = Life::new(1, last_seen, 0);
        let mut token = Token::new(Text::new(""), none, none, life);
        self.unpack(last_seen, &mut token);
        token.last_seen = last_seen;
        Self::pack(&token).as_ref() == Some(self)
    }

    /// When its attempt started and at which order of input, if that is open.
    pub fn open_since(&self, last_seen: Timestamp) -> Option<(Timestamp, u64)> {
        let open = self.flags.is(OPEN);
        open.then(|| (self.first_start(last_seen), self.order_and_client >> 16))
    }
}
