package io.oncewatch;

import java.nio.charset.StandardCharsets;
import java.time.Instant;

/**
 * Writes event lines of wire protocol version 1 (SPEC §2), always within its limits.
 *
 * <p>The sidecar rejects an event for one value that is too long, so values are shortened here instead. Lines are pure
 * ASCII: JSON escapes carry the rest.
 */
final class Line {
    static final int TOKEN_BYTES_MAX = 512;
    static final int API_BYTES_MAX = 128;
    static final int CALL_BYTES_MAX = 64;
    static final int FINGERPRINT_BYTES_MAX = 64;
    static final int CLIENT_BYTES_MAX = 128;
    static final int SCOPE_BYTES_MAX = 256;
    static final int ERROR_BYTES_MAX = 128;
    static final int REQUEST_ID_BYTES_MAX = 128;
    static final int TRACEPARENT_BYTES_MAX = 128;
    private static final long EXACT_INTEGER_MAX = (1L << 53) - 1;
    private static final char REPLACEMENT = '\uFFFD';
    private static final char[] HEX = "0123456789abcdef".toCharArray();

    private final StringBuilder text = new StringBuilder(1024);

    Line begin(String type) {
        text.append("{\"type\":\"").append(type).append('"');
        return this;
    }

    /** Fields that were written before, by {@link #fields}. */
    Line raw(String fields) {
        text.append(fields);
        return this;
    }

    Line integer(String name, long value, long minimum) {
        if (value >= minimum) {
            name(name).append(value);
        }
        return this;
    }

    /** A finite number of at least 0, or nothing. */
    Line number(String name, double value) {
        if (value >= 0 && value <= EXACT_INTEGER_MAX) {
            name(name);
            if (value == Math.rint(value)) {
                text.append((long) value);
            } else {
                text.append(value);
            }
        }
        return this;
    }

    Line milliseconds(String name, long nanos) {
        if (nanos >= 0) {
            decimal(name(name), nanos / 1_000_000, nanos / 1_000 % 1_000, 100);
        }
        return this;
    }

    Line at(Instant at) {
        decimal(name("at"), at.getEpochSecond(), at.getNano() / 1_000, 100_000);
        return this;
    }

    /** The value, cut at a character boundary to at most {@code bytesMax} bytes of UTF-8; nothing if it is empty. */
    Line string(String name, String value, int bytesMax) {
        if (value != null && !value.isEmpty()) {
            quoted(name(name), clipped(value, bytesMax));
        }
        return this;
    }

    /** Like {@link #string} for a value that two requests are told apart by. */
    Line identifier(String name, String value, int bytesMax) {
        return value == null ? this : string(name, clippedUnique(value, bytesMax), bytesMax);
    }

    /** The one string that may be empty. */
    Line token(String value) {
        quoted(name("token"), clippedUnique(value, TOKEN_BYTES_MAX));
        return this;
    }

    void end() {
        text.append("}\n");
    }

    String fields() {
        return text.toString();
    }

    int length() {
        return text.length();
    }

    void truncate(int length) {
        text.setLength(length);
    }

    byte[] bytes() {
        return text.toString().getBytes(StandardCharsets.US_ASCII);
    }

    /** The beginning of the value, a copy that does not keep the rest; looks at no more of it than that. */
    static String clipped(String value, int bytesMax) {
        if (value == null) {
            return null;
        }
        int end = cut(value, bytesMax);
        return end == value.length() ? value : value.substring(0, end);
    }

    /** The end of a value that is too long is replaced by a hash of all of it: two that begin alike stay different. */
    static String clippedUnique(String value, int bytesMax) {
        if (utf8Length(value) <= bytesMax) {
            return value;
        }
        StringBuilder whole = new StringBuilder(value.length());
        value.codePoints().forEach(point -> whole.appendCodePoint(isLoneSurrogate(point) ? REPLACEMENT : point));
        String mark = "~" + Fingerprint.hash(whole.toString().getBytes(StandardCharsets.UTF_8));
        return value.substring(0, cut(value, bytesMax - mark.length())) + mark;
    }

    private static long utf8Length(String value) {
        long bytes = 0;
        for (int index = 0; index < value.length(); ) {
            int point = value.codePointAt(index);
            bytes += utf8Length(point);
            index += Character.charCount(point);
        }
        return bytes;
    }

    private static int cut(String value, int bytesMax) {
        int bytes = 0;
        int index = 0;
        while (index < value.length()) {
            int point = value.codePointAt(index);
            bytes += utf8Length(point);
            if (bytes > bytesMax) {
                break;
            }
            index += Character.charCount(point);
        }
        return index;
    }

    private static int utf8Length(int point) {
        if (point < 0x80) {
            return 1;
        }
        if (point < 0x800) {
            return 2;
        }
        return point < 0x10000 ? 3 : 4;
    }

    private static boolean isLoneSurrogate(int point) {
        return point >= Character.MIN_SURROGATE && point <= Character.MAX_SURROGATE;
    }

    private StringBuilder name(String name) {
        return text.append(",\"").append(name).append("\":");
    }

    /** {@code largestDigit} is the value of the fraction's first digit. */
    private static void decimal(StringBuilder text, long whole, long fraction, long largestDigit) {
        text.append(whole).append('.');
        for (long digit = largestDigit; digit > 0; digit /= 10) {
            text.append((char) ('0' + fraction / digit % 10));
        }
    }

    private static void quoted(StringBuilder text, String value) {
        text.append('"');
        for (int index = 0; index < value.length(); index++) {
            char unit = value.charAt(index);
            if (unit == '"' || unit == '\\') {
                text.append('\\').append(unit);
            } else if (unit >= 0x20 && unit < 0x7F) {
                text.append(unit);
            } else if (Character.isHighSurrogate(unit)
                    && index + 1 < value.length()
                    && Character.isLowSurrogate(value.charAt(index + 1))) {
                escaped(text, unit);
                escaped(text, value.charAt(++index));
            } else {
                escaped(text, Character.isSurrogate(unit) ? REPLACEMENT : unit);
            }
        }
        text.append('"');
    }

    private static void escaped(StringBuilder text, char unit) {
        text.append("\\u").append(HEX[unit >> 12]).append(HEX[unit >> 8 & 15]).append(HEX[unit >> 4 & 15]);
        text.append(HEX[unit & 15]);
    }
}
