package io.oncewatch;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

/**
 * The two fingerprints of a request (SPEC §10). Neither contains the token.
 *
 * @param fp identifies what is asked for: equal for any key order or white space. {@code null} for a body over 256 KiB,
 *     one that is not JSON or has more than 512 levels, or one whose strings are not Unicode (a lone surrogate cannot be
 *     written as UTF-8)
 * @param fpRaw identifies the bytes: it differs where {@code fp} is equal when a serialiser wrote the same request in
 *     another way
 * @param token what the token field holds; {@code null} if it is no top-level string
 */
public record Fingerprint(String fp, String fpRaw, String token) {
    /** Bodies over this many bytes have no {@code fp}. */
    public static final int BODY_BYTES_MAX = 256 * 1024;

    private static final int HASH_BYTES = 16;

    /**
     * Hashes {@code body} for {@code api}; throws for no bytes whatever.
     *
     * <p>{@code tokenField} (or {@code null}) and {@code ignoredFields} are looked for at the top level only. Of a
     * repeated key the last one counts, as JSON parsers have it.
     */
    public static Fingerprint of(String api, byte[] body, String tokenField, Collection<String> ignoredFields) {
        byte[] prefix = (api + "\n").getBytes(StandardCharsets.UTF_8);
        String text;
        Json json;
        Object document;
        try {
            text = decode(body);
            json = new Json(text, tokenField);
            document = json.read();
        } catch (CharacterCodingException | Json.NotJson notJson) {
            return new Fingerprint(null, hash(prefix, body), null);
        }
        int start = json.wantedStart;
        int end = json.wantedEnd;
        if (text.length() != body.length) {
            start = byteOffset(text, start);
            end = byteOffset(text, end);
        }
        String raw = hash(prefix, ByteBuffer.wrap(body, 0, start), ByteBuffer.wrap(body, end, body.length - end));
        byte[] canonical = body.length > BODY_BYTES_MAX || json.deep ? null : canonical(document, tokenField, ignoredFields);
        return new Fingerprint(canonical == null ? null : hash(prefix, canonical), raw, json.wanted);
    }

    /**
     * What {@code fp} is a hash of, without the API's name: for tests and for explaining a difference. {@code null} for a
     * body that has none; the size limit of {@code fp} does not apply.
     */
    public static byte[] canonical(byte[] body, String tokenField, Collection<String> ignoredFields) {
        try {
            Json json = new Json(decode(body), tokenField);
            Object document = json.read();
            return json.deep ? null : canonical(document, tokenField, ignoredFields);
        } catch (CharacterCodingException | Json.NotJson notJson) {
            return null;
        }
    }

    /** Takes the dropped fields out of {@code document} itself: nobody needs the parsed body afterwards. */
    private static byte[] canonical(Object document, String tokenField, Collection<String> ignoredFields) {
        if (document instanceof Map<?, ?> members) {
            members.keySet().remove(tokenField);
            members.keySet().removeAll(List.copyOf(ignoredFields));
        }
        StringBuilder written = new StringBuilder(512);
        Json.write(document, written);
        try {
            ByteBuffer encoded = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(written));
            byte[] bytes = new byte[encoded.remaining()];
            encoded.get(bytes);
            return bytes;
        } catch (CharacterCodingException loneSurrogate) {
            return null;
        }
    }

    /** Unlike {@code new String(bytes, UTF_8)}, which would replace what is not UTF-8. */
    private static String decode(byte[] body) throws CharacterCodingException {
        return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body)).toString();
    }

    private static int byteOffset(String text, int index) {
        return text.substring(0, index).getBytes(StandardCharsets.UTF_8).length;
    }

    static String hash(byte[]... parts) {
        MessageDigest digest = sha256();
        for (byte[] part : parts) {
            digest.update(part);
        }
        return hex(digest);
    }

    private static String hash(byte[] prefix, ByteBuffer... parts) {
        MessageDigest digest = sha256();
        digest.update(prefix);
        for (ByteBuffer part : parts) {
            digest.update(part);
        }
        return hex(digest);
    }

    private static String hex(MessageDigest digest) {
        return HexFormat.of().formatHex(digest.digest(), 0, HASH_BYTES);
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException("every Java platform has SHA-256", impossible);
        }
    }
}
