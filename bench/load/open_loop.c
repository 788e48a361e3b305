/*
 * The open loop: requests are due when the plan says, whatever became of those before, and their
 * latency counts from there. One that has to wait for its connection, since the server or the
 * generator is behind, carries that in its latency: what a closed loop leaves out ("coordinated
 * omission").
 *
 * A connection has at most `pipeline` requests under way, and those that are due beyond wait here.
 * With one, the default, it is a client that awaits its answer, of which a plan has many. To send
 * regardless would be kinder to a server that stalls: it would find all that has come meanwhile
 * in one read, and catch up with a fraction of the work that its clients would have made it do.
 * Clients that do pipeline are had with --pipeline.
 */
#include "load/load_thread.h"

#define SENDS_PER_TURN 256u /* after so many, echoes are looked at again */

/* The connections of all threads take turns with one another, so that each thread's requests are
 * spread evenly, too. Threads have equally many connections, or the first ones have one more. */
static uint64_t request_of(const load_thread *t, uint64_t place, uint64_t message) {
    return schedule_request(t->plan, place * t->options->threads + t->index, message);
}

static uint64_t place_of(const load_thread *t, const connection *c) {
    return (uint64_t)(c - t->connections);
}

/* Sends what is due and may be sent, and finishes when the plan has no more for this connection.
 * `was_busy`: what is due has been waiting for an echo. */
static void send_due(load_thread *t, connection *c, uint64_t now_ns, bool was_busy) {
    const schedule *plan = t->plan;
    uint64_t outstanding = connection_outstanding(c), messages = 0, request, due_ns = 0;
    for (;; messages++) {
        request = request_of(t, place_of(t, c), c->begun.number + messages);
        if (t->phase == LOAD_DRAIN || request >= plan->end ||
            outstanding + messages >= t->options->pipeline)
            break;
        due_ns = schedule_due_ns(plan, request);
        if (due_ns > now_ns)
            break;
        if (!schedule_measures(plan, request))
            continue;
        t->sent++;
        if (was_busy)
            t->waited++;
        else
            histogram_record(&t->lateness, now_ns - due_ns, 1);
    }
    if (messages > 0)
        load_send(t, c, messages);
    else if (outstanding == 0 && (t->phase == LOAD_DRAIN || request >= plan->end))
        load_finish(t, c);
}

/* Looks at the thread's requests in the order in which they fall due. Those whose connection is
 * busy are sent when it no longer is. */
static void woken(load_thread *t, uint64_t now_ns) {
    for (unsigned i = 0; i < SENDS_PER_TURN; i++) {
        connection *c = &t->connections[t->turn % t->count];
        uint64_t request = request_of(t, t->turn % t->count, t->turn / t->count);
        t->wake_ns = request < t->plan->end ? schedule_due_ns(t->plan, request) : LOAD_NEVER;
        if (t->wake_ns > now_ns)
            return;
        if (c->fd >= 0 && !c->finishing)
            send_due(t, c, now_ns, false);
        t->turn++;
        now_ns = cli_now_ns();
    }
}

/* What the measured part has of each connection. Those that the plan is too short for are done. */
static void begin(load_thread *t, connection *c, uint64_t now_ns) {
    uint64_t turn = request_of(t, place_of(t, c), 0);
    t->to_complete += schedule_share(t->plan, turn);
    if (turn >= t->plan->end)
        send_due(t, c, now_ns, false);
}

/* The measured part ends when all of its requests are back, and not before the plan does. */
static void received(load_thread *t, connection *c, uint64_t now_ns) {
    bool was_busy = connection_outstanding(c) >= t->options->pipeline;
    uint64_t message = c->arriving.number - 1, messages = load_take_messages(t, c);
    for (uint64_t end = message + messages; message < end; message++) {
        uint64_t request = request_of(t, place_of(t, c), message);
        if (!schedule_measures(t->plan, request))
            continue;
        histogram_record(&t->latency, now_ns - schedule_due_ns(t->plan, request), 1);
        if (--t->to_complete == 0 && t->phase == LOAD_MEASURE) {
            uint64_t planned_ns = schedule_due_ns(t->plan, t->plan->end);
            load_end_measure(t, now_ns > planned_ns ? now_ns : planned_ns);
        }
    }
    send_due(t, c, now_ns, was_busy);
}

const load_mode load_open_loop = {.begin = begin, .received = received, .woken = woken};
