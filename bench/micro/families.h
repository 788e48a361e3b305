/* The families of benchmarks: each registers its contests (micro/contest.h). */
#ifndef WEFT_BENCH_FAMILIES_H
#define WEFT_BENCH_FAMILIES_H

void register_posts(void);
void register_asyncs(void);
void register_queues(void);
void register_timers(void);
void register_selectors(void);
void register_directories(void);

/* ../flow */
void register_wakeups(void);
void register_calls(void);
void register_ping_pongs(void);
void register_writes(void);
void register_sends(void);
void register_transfers(void);
void register_moves(void);

/* ../events */
void register_signals(void);
void register_spawns(void);
void register_exits(void);

#endif
