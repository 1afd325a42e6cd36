//! TensorBoard event files: scalars only, written whole after each epoch.
//!
//! The format is a list of records `length, crc(length), data, crc(data)`; data is a protocol
//! buffer `Event { wall_time: 1, step: 2, file_version: 3, summary: 5 { value: 1 { tag: 1,
//! simple_value: 2 } } }`. Source: the `tfrecord` and `event.proto` descriptions of TensorFlow.

/// One scalar at one step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    /// Name of the curve; parts are separated by `/`.
    pub tag: String,
    /// Global step.
    pub step: u64,
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The value.
    pub value: f32,
}

/// The bytes of an event file.
pub(super) fn encode(scalars: &[Scalar]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut version = field_f64(1, scalars.first().map_or(0.0, |s| s.wall_time));
    version.extend(field_bytes(3, b"brain.Event:2"));
    record(&mut file, &version);
    for scalar in scalars {
        let mut value = field_bytes(1, scalar.tag.as_bytes());
        value.push(2 << 3 | 5);
        value.extend(scalar.value.to_le_bytes());
        let mut event = field_f64(1, scalar.wall_time);
        event.push(2 << 3);
        event.extend(varint(scalar.step));
        event.extend(field_bytes(5, &field_bytes(1, &value)));
        record(&mut file, &event);
    }
    file
}

fn record(file: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked_crc(&length).to_le_bytes());
    file.extend(data);
    file.extend(masked_crc(data).to_le_bytes());
}

fn field_f64(number: u8, value: f64) -> Vec<u8> {
    let mut field = vec![number << 3 | 1];
    field.extend(value.to_le_bytes());
    field
}

fn field_bytes(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(bytes.len() as u64));
    field.extend(bytes);
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// CRC-32C, rotated and offset as the format wants it.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of CRC-32C is 0xe3069283 for "123456789".
        assert_eq!(
            masked_crc(b"123456789"),
            0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }

    #[test]
    fn a_scalar_takes_one_record_after_the_version() {
        let s = Scalar {
            tag: "loss/text".into(),
            step: 300,
            wall_time: 1.0,
            value: 0.5,
        };
        let bytes = encode(&[s]);
        let first = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let second = u64::from_le_bytes(bytes[first + 16..first + 24].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), first + second + 32);
    }
}
