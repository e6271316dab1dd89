package io.oncewatch;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads JSON (RFC 8259) and writes it in the canonical form of SPEC §10.
 *
 * <p>The standard library has no JSON, and none of the usual libraries tells where a string lies in the text. Objects
 * become maps (of a repeated key the last value counts), arrays lists, strings strings, other values {@link Literal}.
 */
final class Json {
    /** Deeper documents have no canonical form in any client. DynamoDB allows 32 levels of attributes. */
    static final int LEVELS_MAX = 512;

    /** A number as it was written (integers: in decimal), {@code true}, {@code false} or {@code null}. */
    record Literal(String text) {}

    /** The text is not JSON. */
    static final class NotJson extends Exception {
        private static final long serialVersionUID = 1;

        NotJson(String message) {
            super(message, null, false, false);
        }
    }

    private static final Map<String, Literal> WORDS =
            Map.of("true", new Literal("true"), "false", new Literal("false"), "null", new Literal("null"));

    private final String text;
    private final String wantedField;
    private int index;
    private int level;

    /** The characters between the quotes of the wanted top-level field; an empty range if it is no string. */
    int wantedStart;
    int wantedEnd;
    /** The wanted field's value, {@code null} if it is no string. */
    String wanted;
    /** What was read is not all of it: there are more levels than {@link #LEVELS_MAX}. */
    boolean deep;

    /** {@code wantedField} is the top-level field whose place is to be found, or {@code null}. */
    Json(String text, String wantedField) {
        this.text = text;
        this.wantedField = wantedField;
    }

    Object read() throws NotJson {
        Object value = value();
        skipSpace();
        if (index < text.length()) {
            throw fail("the end");
        }
        return value;
    }

    private Object value() throws NotJson {
        skipSpace();
        char first = peek();
        switch (first) {
            case '{':
                return level < LEVELS_MAX ? object() : skipped();
            case '[':
                return level < LEVELS_MAX ? array() : skipped();
            case '"':
                return string();
            default:
                return first == '-' || isDigit(first) ? number() : word();
        }
    }

    private Map<String, Object> object() throws NotJson {
        enter();
        Map<String, Object> members = new HashMap<>();
        if (!closes('}')) {
            do {
                skipSpace();
                if (peek() != '"') {
                    throw fail("a key");
                }
                String key = string();
                expect(':');
                skipSpace();
                int start = index;
                Object value = value();
                members.put(key, value);
                if (level == 1 && key.equals(wantedField)) {
                    note(value, start);
                }
            } while (continues('}'));
        }
        level--;
        return members;
    }

    private void note(Object value, int start) {
        boolean found = value instanceof String;
        wanted = found ? (String) value : null;
        wantedStart = found ? start + 1 : 0;
        wantedEnd = found ? index - 1 : 0;
    }

    private List<Object> array() throws NotJson {
        enter();
        List<Object> items = new ArrayList<>();
        if (!closes(']')) {
            do {
                items.add(value());
            } while (continues(']'));
        }
        level--;
        return items;
    }

    private void enter() {
        level++;
        index++;
    }

    /** Passes over an object or array that is too deep: only brackets and strings are looked at. */
    private Literal skipped() throws NotJson {
        deep = true;
        int open = 0;
        do {
            char unit = peek();
            if (unit == '"') {
                string();
                continue;
            }
            index++;
            if (unit == '[' || unit == '{') {
                open++;
            } else if (unit == ']' || unit == '}') {
                open--;
            }
        } while (open > 0);
        return WORDS.get("null");
    }

    private boolean closes(char end) throws NotJson {
        skipSpace();
        if (peek() != end) {
            return false;
        }
        index++;
        return true;
    }

    private boolean continues(char end) throws NotJson {
        skipSpace();
        char next = peek();
        if (next != ',' && next != end) {
            throw fail("',' or '" + end + "'");
        }
        index++;
        return next == ',';
    }

    private void expect(char wantedChar) throws NotJson {
        skipSpace();
        if (peek() != wantedChar) {
            throw fail("'" + wantedChar + "'");
        }
        index++;
    }

    private String string() throws NotJson {
        int start = ++index;
        while (true) {
            char unit = peek();
            if (unit == '"') {
                return text.substring(start, index++);
            }
            if (unit == '\\') {
                return escapedString(start);
            }
            if (unit < 0x20) {
                throw fail("no control character");
            }
            index++;
        }
    }

    private String escapedString(int start) throws NotJson {
        StringBuilder value = new StringBuilder().append(text, start, index);
        while (true) {
            char unit = peek();
            index++;
            if (unit == '"') {
                return value.toString();
            }
            if (unit < 0x20) {
                throw fail("no control character");
            }
            value.append(unit == '\\' ? escape() : unit);
        }
    }

    private char escape() throws NotJson {
        char kind = peek();
        index++;
        switch (kind) {
            case '"', '\\', '/':
                return kind;
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'u':
                int unit = 0;
                for (int digit = 0; digit < 4; digit++, index++) {
                    unit = unit << 4 | hexDigit(peek());
                }
                return (char) unit;
            default:
                throw fail("an escape");
        }
    }

    private int hexDigit(char digit) throws NotJson {
        // Character.digit would also take digits of other scripts.
        int value = digit < 0x80 ? Character.digit(digit, 16) : -1;
        if (value < 0) {
            throw fail("a hexadecimal digit");
        }
        return value;
    }

    private Literal number() throws NotJson {
        int start = index;
        if (peek() == '-') {
            index++;
        }
        if (peek() == '0') {
            index++;
        } else {
            digits();
        }
        boolean integer = true;
        if (at('.')) {
            integer = false;
            index++;
            digits();
        }
        if (at('e') || at('E')) {
            integer = false;
            index++;
            if (at('+') || at('-')) {
                index++;
            }
            digits();
        }
        String source = text.substring(start, index);
        return new Literal(integer && source.equals("-0") ? "0" : source);
    }

    private void digits() throws NotJson {
        if (!isDigit(peek())) {
            throw fail("a digit");
        }
        while (index < text.length() && isDigit(text.charAt(index))) {
            index++;
        }
    }

    private Literal word() throws NotJson {
        for (Map.Entry<String, Literal> word : WORDS.entrySet()) {
            if (text.startsWith(word.getKey(), index)) {
                index += word.getKey().length();
                return word.getValue();
            }
        }
        throw fail("a value");
    }

    private void skipSpace() {
        while (index < text.length()) {
            char unit = text.charAt(index);
            if (unit != ' ' && unit != '\t' && unit != '\n' && unit != '\r') {
                return;
            }
            index++;
        }
    }

    private boolean at(char unit) {
        return index < text.length() && text.charAt(index) == unit;
    }

    private char peek() throws NotJson {
        if (index >= text.length()) {
            throw fail("more text");
        }
        return text.charAt(index);
    }

    private static boolean isDigit(char unit) {
        return unit >= '0' && unit <= '9';
    }

    private NotJson fail(String expected) {
        return new NotJson("expected " + expected + " at character " + index);
    }

    /** Keys in code-point order, no white space, the shortest escapes. */
    static void write(Object value, StringBuilder out) {
        if (value instanceof Map<?, ?> members) {
            char separator = '{';
            for (Object key : members.keySet().stream().sorted(Json::compareCodePoints).toList()) {
                writeString((String) key, out.append(separator));
                write(members.get(key), out.append(':'));
                separator = ',';
            }
            out.append(members.isEmpty() ? "{}" : "}");
        } else if (value instanceof List<?> items) {
            char separator = '[';
            for (Object item : items) {
                write(item, out.append(separator));
                separator = ',';
            }
            out.append(items.isEmpty() ? "[]" : "]");
        } else if (value instanceof String string) {
            writeString(string, out);
        } else {
            out.append(((Literal) value).text);
        }
    }

    /** String.compareTo compares UTF-16 units, in which a surrogate sorts below U+E000. */
    private static int compareCodePoints(Object left, Object right) {
        String a = (String) left;
        String b = (String) right;
        int length = Math.min(a.length(), b.length());
        for (int at = 0; at < length; at++) {
            char x = a.charAt(at);
            char y = b.charAt(at);
            if (x != y) {
                boolean sameKind = Character.isSurrogate(x) == Character.isSurrogate(y);
                return sameKind ? Character.compare(x, y) : Character.isSurrogate(x) ? 1 : -1;
            }
        }
        return Integer.compare(a.length(), b.length());
    }

    private static void writeString(String value, StringBuilder out) {
        out.append('"');
        for (int at = 0; at < value.length(); at++) {
            char unit = value.charAt(at);
            switch (unit) {
                case '"', '\\' -> out.append('\\').append(unit);
                case '\b' -> out.append("\\b");
                case '\f' -> out.append("\\f");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                default -> {
                    if (unit < 0x20) {
                        out.append("\\u00").append(Character.forDigit(unit >> 4, 16));
                        out.append(Character.forDigit(unit & 15, 16));
                    } else {
                        out.append(unit);
                    }
                }
            }
        }
        out.append('"');
    }
}
