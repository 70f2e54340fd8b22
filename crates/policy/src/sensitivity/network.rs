//! Addresses of machines, positions on the earth, and URLs that carry a password.

use std::net::Ipv6Addr;

use super::kinds;
use super::scan::Scan;
use super::vocabulary::Context;

/// Longest text of an IPv6 address.
const LONGEST_HEX: usize = 45;
/// Longest URL or connection string that is looked at; a longer one is cut there.
const LONGEST_URL: usize = 2048;

/// An IPv4 address may begin at `start`. Loopback, wildcards and masks are nobody's.
pub(super) fn ipv4(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let mut octets = [0_u16; 4];
    let mut at = start;
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            if scan.byte(at) != b'.' {
                return None;
            }
            at += 1;
        }
        let end = scan.run_of(at, |byte| byte.is_ascii_digit());
        let digits = scan.slice(at..end);
        if digits.is_empty() || digits.len() > 3 || (digits.len() > 1 && digits.first() == Some(&b'0')) {
            return None;
        }
        *octet = digits.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
        at = end;
    }
    let bound = scan.byte(at);
    let goes_on = bound.is_ascii_alphanumeric()
        || bound == b'_'
        || (bound == b'.' && scan.byte(at + 1).is_ascii_digit());
    let begins_inside = matches!(scan.byte_before(start), b'.' | b'-' | b'_');
    let of_nobody = matches!(octets, [127 | 0 | 255, ..]) || octets.iter().all(|octet| *octet < 10);
    let version = scan.near(Context::Version, start, 12);
    if goes_on || begins_inside || of_nobody || version || octets.iter().any(|octet| *octet > 255) {
        return None;
    }
    scan.add(kinds::IP_ADDRESS, start..at, 95);
    Some(at)
}

/// A MAC or IPv6 address may begin at `start`.
pub(super) fn hex(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let signs = (1..=4).map(|ahead| scan.byte(start + ahead)).position(|byte| !byte.is_ascii_hexdigit())?;
    let sign = scan.byte(start + 1 + signs);
    match (signs + 1, sign) {
        (2, b':' | b'-') => mac(scan, start, sign, 2).or_else(|| ipv6(scan, start)),
        (4, b'.') => mac(scan, start, sign, 4),
        (_, b':') => ipv6(scan, start),
        _ => None,
    }
}

/// Six pairs of hexadecimal digits, or three groups of four as Cisco writes them.
fn mac(scan: &mut Scan<'_>, start: usize, sign: u8, size: usize) -> Option<usize> {
    let groups = 12 / size;
    let end = start + 12 + groups - 1;
    let text = scan.slice(start..end);
    let right = text.iter().enumerate().all(|(at, byte)| match at % (size + 1) {
        place if place == size => *byte == sign,
        _ => byte.is_ascii_hexdigit(),
    });
    let letters = text.iter().any(u8::is_ascii_alphabetic);
    // Pairs of digits with hyphens are more often a number of another kind.
    let announced = (sign == b':' && size == 2) || letters || scan.near(Context::Mac, start, 24);
    let nobody = text.iter().all(|byte| matches!(byte, b'0') || byte == &sign)
        || text.iter().all(|byte| matches!(byte, b'f' | b'F') || byte == &sign);
    let inside = matches!(scan.byte_before(start), b':' | b'-' | b'.');
    let goes_on = scan.byte(end).is_ascii_alphanumeric()
        || (scan.byte(end) == sign && scan.byte(end + 1).is_ascii_hexdigit());
    if text.len() < end - start || !right || !announced || nobody || inside || goes_on {
        return None;
    }
    scan.add(kinds::MAC_ADDRESS, start..end, 95);
    Some(end)
}

fn ipv6(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let mut end = scan.run_of(start, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    while end > start && matches!(scan.byte(end - 1), b'.' | b':') && scan.slice(start..end) != b"::" {
        end -= 1;
    }
    if end - start > LONGEST_HEX || end - start < 6 || scan.byte(end).is_ascii_alphanumeric() {
        return None;
    }
    let text = scan.str(start..end);
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    let address: Ipv6Addr = text.parse().ok()?;
    if groups < 3
        || !text.bytes().any(|byte| byte.is_ascii_digit())
        || address.is_loopback()
        || address.is_unspecified()
    {
        return None;
    }
    scan.add(kinds::IP_ADDRESS, start..end, 95);
    Some(end)
}

/// A colon stands at `at`: the middle of a hexadecimal address, or of a URL.
pub(super) fn colon(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    if scan.byte(at + 1) == b'/' && scan.byte(at + 2) == b'/' {
        return url(scan, at);
    }
    let before = scan.before?;
    // Groups with a digit were looked at when they began.
    let letters = before.end == at && before.digits == 0 && before.len() <= 4;
    if !letters || !scan.slice(before.start..at).iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    hex(scan, before.start)
}

/// `scheme://user:password@host`.
fn url(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let scheme = scan.before.filter(|word| word.end == at)?.start;
    let begin = at + 3;
    let end =
        scan.run_of(begin, |byte| byte > b' ' && !matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'|'));
    let end = end.min(begin + LONGEST_URL);
    let rest = scan.slice(begin..end);
    // Passwords with a slash or a question mark must be encoded, and are.
    let authority = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let host = memchr::memrchr(b'@', rest.get(..authority)?)?;
    let user = rest.get(..host)?;
    let password = user.get(memchr::memchr(b':', user)? + 1..)?;
    if password.len() < 3 || super::secrets::is_stand_in(password) {
        return None;
    }
    scan.add(kinds::CONNECTION_STRING, scheme..end, 96);
    Some(end)
}

/// Latitude and longitude in decimal degrees with at least four places, or three where a word announces them; or degrees, minutes
/// and seconds.
pub(super) fn coordinates(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let whole = scan.run_of(start, |byte| byte.is_ascii_digit());
    if !(1..=3).contains(&(whole - start)) {
        return None;
    }
    match scan.byte(whole) {
        b'.' => {}
        b'^' => return degrees(scan, start),
        _ => return None,
    }
    let least = if scan.near(Context::Place, start, 40) { 3 } else { 4 };
    let (latitude, middle) = decimal(scan, start, least)?;
    let mut at = middle;
    // `, `, `; `, `/`, ` `, and `, "lng": ` between two fields.
    while at < middle + 24
        && matches!(
            scan.byte(at),
            b' ' | b',' | b';' | b'/' | b'"' | b':' | b'\n' | b'a'..=b'z' | b'N' | b'S'
        )
    {
        at += 1;
    }
    let named = at > middle + 4;
    let minus = usize::from(matches!(scan.byte(at), b'-' | b'+'));
    let (longitude, end) = decimal(scan, at + minus, least)?;
    if at == middle || latitude > 90 || longitude > 180 || (named && !scan.near(Context::Place, start, 40)) {
        return None;
    }
    let from = if matches!(scan.byte_before(start), b'-' | b'+') { start - 1 } else { start };
    scan.add(kinds::COORDINATES, from..end, 85);
    Some(end)
}

/// A number with so many places: the whole degrees, and where it ends.
fn decimal(scan: &Scan<'_>, start: usize, least: usize) -> Option<(u32, usize)> {
    let point = scan.run_of(start, |byte| byte.is_ascii_digit());
    let end = scan.run_of(point + 1, |byte| byte.is_ascii_digit());
    let whole = scan.slice(start..point);
    if scan.byte(point) != b'.'
        || whole.is_empty()
        || whole.len() > 3
        || !(least..=12).contains(&(end - point - 1))
    {
        return None;
    }
    Some((whole.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')), end))
}

/// `40^26'46"N 79^58'56"W`; degree signs are carets here.
fn degrees(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let first = angle(scan, start, b"NS")?;
    let next = scan.run_of(first, |byte| matches!(byte, b' ' | b',' | b';'));
    let end = angle(scan, next, b"EWO")?;
    scan.add(kinds::COORDINATES, start..end, 92);
    Some(end)
}

fn angle(scan: &Scan<'_>, start: usize, sides: &[u8]) -> Option<usize> {
    let end =
        scan.run_of(start, |byte| byte.is_ascii_digit() || matches!(byte, b'^' | b'\'' | b'"' | b' ' | b'.'));
    (end - start <= 24 && end - start >= 2 && sides.contains(&scan.byte(end))).then_some(end + 1)
}
