package io.oncewatch;

import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;

/** The current OpenTelemetry span, if the application has the OpenTelemetry API on its class path. */
final class TraceContext {
    private static final boolean AVAILABLE = isAvailable();

    private TraceContext() {}

    /** A W3C {@code traceparent}, or {@code null} without a valid current span. */
    static String traceparent() {
        return AVAILABLE ? OpenTelemetry.traceparent() : null;
    }

    private static boolean isAvailable() {
        try {
            Class.forName("io.opentelemetry.api.trace.Span", false, TraceContext.class.getClassLoader());
            return true;
        } catch (ClassNotFoundException | LinkageError absent) {
            return false;
        }
    }

    /** A class of its own: it is only loaded, and its imports only resolved, when the API is there. */
    private static final class OpenTelemetry {
        static String traceparent() {
            SpanContext context = Span.current().getSpanContext();
            if (!context.isValid()) {
                return null;
            }
            return "00-" + context.getTraceId() + "-" + context.getSpanId() + "-" + context.getTraceFlags().asHex();
        }
    }
}
