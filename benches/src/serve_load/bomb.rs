//! An image that is much larger than its file.

/// A PNG file that claims a side of `side` pixels, with a whole head and hardly any data.
pub(super) fn png_head(side: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let content = [kind.as_slice(), data].concat();
        let length = (data.len() as u32).to_be_bytes();
        [&length, content.as_slice(), &crc32(&content).to_be_bytes()].concat()
    };
    let sides = [side.to_be_bytes(), side.to_be_bytes()].concat();
    let head = [sides.as_slice(), &[8, 2, 0, 0, 0]].concat();
    let signature = b"\x89PNG\r\n\x1a\n".to_vec();
    [signature, chunk(b"IHDR", &head), chunk(b"IDAT", &[0x78, 0x9c, 3, 0]), chunk(b"IEND", &[])]
        .concat()
}

/// The checksum of PNG, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bomb_is_a_png_to_its_reader() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926); // the check value of the algorithm
        let size = longtail_data::image_size(&png_head(300), "bomb");
        assert_eq!(size.unwrap(), [300, 300]);
    }
}
