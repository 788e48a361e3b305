/* The one-word queue, the sleep of its owner and the order of a stop, for spin.
 *
 * Two workers and two foreign threads. Thread 0 posts a task to worker 0 that posts one to worker
 * 1; thread 1 does the same the other way round. Meanwhile a third thread stops the runtime: it
 * posts a stop task to both; a worker that ran it and has nothing left is quiet; the last one to
 * be quiet tells the other, and only then does either close its queue. After its last task a
 * worker closes its eventfd.
 *
 * What is checked
 *   - no lost wake-up: a worker that sleeps for ever is an invalid end state
 *   - accepted = run, once; refused = never run; nothing runs after the end of its worker
 *   - a post is refused only when all workers are quiet
 *   - a task sees what its poster wrote before the post
 *   - the eventfd is open whenever it is written, and written as often as the owner accounts for
 *
 * Memory. spin interleaves, which is sequential consistency; real stores wait in a buffer. What a
 * poster writes into its task is ordered by the release of the push: it is in memory when the word
 * is replaced, and when before that nobody can tell, so here it arrives in the same step. With
 * NO_RELEASE it waits in a buffer (`pending`), from which process memory() moves it at any later
 * time; with BUFFERED the buffer is there and the push waits for it, which must hold. The word
 * itself needs no buffer: every access that decides anything is a read-modify-write of this one
 * location, and read-modify-writes of one location are totally ordered on every machine, each
 * reading the one before. Neither side stores to one place and then loads from another, which is
 * the only pattern that a store buffer breaks. WAKE_ELSEWHERE is the usual design that does so
 * (Dekker: the owner says in a flag of its own that it sleeps): there the flag goes through a
 * buffer, and spin finds the lost wake-up; with FENCED, which lets the owner wait for its buffer,
 * it finds none, so it is the buffer that it found. (Both run without thread 1, other events and
 * the account of writes, or their states are too many.)
 *
 * Each of these must be reported (run.sh):
 *   NO_RECHECK         arm does not compare with EMPTY
 *   WAKE_ELSEWHERE     the decision to wake is read from another word
 *   LOOK_FIRST         the decision to wake is read from the same word, but before the push
 *   CLOSE_NOT_ATOMIC   take, then store CLOSED
 *   TAKE_NOT_ATOMIC    read the list, then store EMPTY
 *   NO_WAKE            nobody writes the eventfd
 *   NO_RELEASE         the push does not order what was written before it
 *   DESTROY_EARLY      the eventfd is closed while a write is outstanding
 *   CLOSE_EARLY        a worker closes its queue when it is quiet, whatever the others do
 */

/* inline is textual: its parameters must not have the names of what is passed, or spin never ends.
 * The order within a batch is not modelled; test_queue_sched.c has it. */
#define WORKERS 2

#define EMPTY  0
#define ARMED  1
#define CLOSED 2
#define LIST   3

/* Tasks, as bits. */
#define FORWARD(w) (1 << (w))       /* on worker w: posts ARRIVE(1 - w) to the other */
#define ARRIVE(w)  (1 << (2 + (w))) /* on worker w */
#define STOP(w)    (1 << (4 + (w)))
#define MEET(w)    (1 << (6 + (w))) /* all are quiet: close */

byte word[WORKERS];
byte list[WORKERS];     /* while the word is LIST */
bool edge[WORKERS];     /* the eventfd, watched edge-triggered, has something to report */
bool fd_open[WORKERS];
byte written[WORKERS];
bool other_event = true; /* one sleep may end for a reason that is not the eventfd */

byte accepted, refused, ran; /* sets of tasks */
byte pending, visible;       /* what was written into tasks: in a store buffer, in memory */
byte quiet, ended;

#ifdef WAKE_ELSEWHERE
bool sleeps[WORKERS];
byte buffered[WORKERS]; /* the owner's store buffer: 0 nothing, else 1 + the value */

inline store_sleeps(owner, value) {
    buffered[owner] == 0;
    buffered[owner] = 1 + value
}
#endif

#if defined(BUFFERED) || defined(NO_RELEASE) || defined(WAKE_ELSEWHERE)
#define PROCESSES_LEFT 2 /* memory() and init */

active proctype memory() {
    byte i;
end:
    do
    :: atomic { pending != 0 -> i = 0;
           do
           :: (pending & (1 << i)) -> break
           :: i < 7 && (pending >> (i + 1)) != 0 -> i++
           od;
           pending = pending & ~(1 << i);
           visible = visible | (1 << i); i = 0 }
#ifdef WAKE_ELSEWHERE
    :: d_step { buffered[0] != 0 -> sleeps[0] = buffered[0] - 1; buffered[0] = 0 }
    :: d_step { buffered[1] != 0 -> sleeps[1] = buffered[1] - 1; buffered[1] = 0 }
#endif
    od
}
#else
#define PROCESSES_LEFT 1
#endif

inline write_eventfd(owner) {
    d_step {
        assert(fd_open[owner]);
        edge[owner] = true;
#ifndef WAKE_ELSEWHERE
        written[owner]++
#endif
    }
}

/* queue_push() and, when it says so, the write. */
inline post(target, what) {
#ifdef BUFFERED
    pending = pending | what;
    (pending & what) == 0;
#endif
#ifdef LOOK_FIRST
    wake = word[target] == ARMED;
#endif
    d_step {
        if
        :: word[target] == CLOSED ->
            refused = refused | what;
            assert(quiet == WORKERS);
            wake = false
        :: else ->
            accepted = accepted | what;
#ifdef NO_RELEASE
            pending = pending | what;
#elif !defined(BUFFERED)
            visible = visible | what;
#endif
#ifndef LOOK_FIRST
            wake = word[target] == ARMED;
#endif
            list[target] = (word[target] == LIST -> list[target] : 0) | what;
            word[target] = LIST
        fi
    }
#ifdef WAKE_ELSEWHERE
    wake = sleeps[target] && (accepted & what) != 0;
#endif
#ifdef NO_WAKE
    wake = false;
#endif
    if
    :: wake -> write_eventfd(target)
    :: else
    fi;
    wake = false
}

/* The exchange of queue_take() and queue_close(), with the owner's account of the write that
 * replacing ARMED costs its poster. */
inline swap_in(mine, value) {
#ifdef TAKE_NOT_ATOMIC
    batch = (word[mine] == LIST -> list[mine] : 0);
    d_step {
#else
    d_step {
        batch = (word[mine] == LIST -> list[mine] : 0);
#endif
        if
#ifndef WAKE_ELSEWHERE
        :: armed && word[mine] != ARMED -> owed++
#endif
        :: else
        fi;
        armed = false;
        word[mine] = value;
        list[mine] = 0
    }
}

inline run_one(me) {
    d_step { /* lowest bit first */
        task = FORWARD(me);
        do
        :: (batch & task) -> break
        :: else -> task = task << 1
        od;
        batch = batch & ~task;
        assert((ran & task) == 0);
        assert(visible & task);
        ran = ran | task
    }
    if
    :: task == FORWARD(me) -> post(1 - me, ARRIVE(1 - me))
    :: task == STOP(me) -> stopping = true
    :: task == MEET(me) -> closing = true
    :: else
    fi;
    task = 0
}

inline run_batch(self) {
    do
    :: batch != 0 -> run_one(self)
    :: else -> break
    od
}

inline sleep_once(me) {
#ifdef WAKE_ELSEWHERE
    store_sleeps(me, 1);
#ifdef FENCED
    buffered[me] == 0;
#endif
    armed = word[me] == EMPTY;
#else
    d_step {
#ifdef NO_RECHECK
        word[me] = ARMED;
        armed = true
#else
        if
        :: word[me] == EMPTY -> word[me] = ARMED; armed = true
        :: else -> armed = false
        fi
#endif
    }
#endif
    if
    :: !armed
    :: armed ->
        if
        :: atomic { edge[me] -> edge[me] = false }
#ifndef WAKE_ELSEWHERE
        :: atomic { other_event -> other_event = false }
#endif
        fi
    fi;
#ifdef WAKE_ELSEWHERE
    armed = false;
    store_sleeps(me, 0)
#endif
}

/* Stop, steps 2 and 3: when nothing is left, be quiet; the last to be so tells the other. */
inline be_quiet(me) {
    bool last;
    d_step { counted = true; quiet++; last = quiet == WORKERS }
    if
    :: last -> closing = true; post(1 - me, MEET(1 - me))
    :: else
    fi;
#ifdef CLOSE_EARLY
    closing = true;
#endif
    last = false
}

proctype worker(byte w) {
    byte batch, task, owed;
    bool armed, wake, stopping, counted, closing;

    do
    :: closing -> break
    :: else ->
        swap_in(w, EMPTY);
        if
        :: batch != 0 -> run_batch(w)
        :: batch == 0 && stopping && !counted -> be_quiet(w)
        :: batch == 0 && !(stopping && !counted) -> sleep_once(w)
        fi
    od;
#ifdef CLOSE_NOT_ATOMIC
    swap_in(w, EMPTY);
    word[w] = CLOSED;
#else
    swap_in(w, CLOSED);
#endif
    run_batch(w);
#if !defined(DESTROY_EARLY) && !defined(WAKE_ELSEWHERE)
    written[w] >= owed; /* inbox_destroy() */
    assert(written[w] == owed);
#endif
#ifndef WAKE_ELSEWHERE
    fd_open[w] = false;
#endif
    ended++
}

proctype poster(byte w) {
    bool wake;
    post(w, FORWARD(w))
}

proctype stopper() {
    bool wake;
    post(0, STOP(0));
    post(1, STOP(1))
}

init {
    atomic {
        fd_open[0] = true;
        fd_open[1] = true;
        run worker(0);
        run worker(1);
        run poster(0);
#ifndef WAKE_ELSEWHERE
        run poster(1);
#endif
        run stopper()
    }
    _nr_pr == PROCESSES_LEFT; /* whoever sleeps for ever makes this an invalid end state */
    assert(accepted == ran);
    assert((accepted & refused) == 0);
    assert(word[0] == CLOSED && word[1] == CLOSED)
}
