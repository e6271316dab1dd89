package io.oncewatch;

/** What is known about the server's answer; everything is optional, and a value out of its limits is left out or cut. */
public final class Answer {
    Outcome outcome = Outcome.NO_RESPONSE;
    /** Cut when they are set: an answer waits in the buffer, which is bounded. */
    private String error;
    private String requestId;
    int httpStatus = -1;
    double readUnits = Double.NaN;
    double writeUnits = Double.NaN;

    Answer() {}

    static Answer of(Outcome outcome) {
        Answer answer = new Answer();
        answer.outcome = outcome == null ? Outcome.NO_RESPONSE : outcome;
        return answer;
    }

    /** The server's error code, e.g. {@code idempotency_error}; cut at 128 bytes. */
    public Answer error(String code) {
        this.error = Line.clipped(code, Line.ERROR_BYTES_MAX);
        return this;
    }

    /** The HTTP status. */
    public Answer httpStatus(int status) {
        this.httpStatus = status;
        return this;
    }

    /** The server's id of the request; cut at 128 bytes. */
    public Answer requestId(String id) {
        this.requestId = Line.clipped(id, Line.REQUEST_ID_BYTES_MAX);
        return this;
    }

    /** Consumed read capacity units, at least 0. */
    public Answer readUnits(double units) {
        this.readUnits = units;
        return this;
    }

    /** Consumed write capacity units, at least 0. */
    public Answer writeUnits(double units) {
        this.writeUnits = units;
        return this;
    }

    int textBytes() {
        return (error == null ? 0 : error.length()) + (requestId == null ? 0 : requestId.length());
    }

    void writeOutcome(Line line) {
        line.string("outcome", outcome.wireName, Line.API_BYTES_MAX);
        boolean unnamed = outcome == Outcome.ERROR && httpStatus < 0 && (error == null || error.isEmpty());
        // The protocol wants a code or a status; a code that no profile lists leaves the outcome open.
        line.string("error", unnamed ? "UnknownError" : error, Line.ERROR_BYTES_MAX);
        line.integer("http_status", httpStatus, 0);
        line.string("request_id", requestId, Line.REQUEST_ID_BYTES_MAX);
    }

    void writeUnits(Line line) {
        line.number("read_units", readUnits);
        line.number("write_units", writeUnits);
    }
}
