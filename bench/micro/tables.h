/* What `weft-micro queues`, `timers` and `directory` print (rounds.h). */
#ifndef WEFT_BENCH_TABLES_H
#define WEFT_BENCH_TABLES_H

void table_of_queues(unsigned rounds);
void table_of_timers(unsigned rounds);
void table_of_directories(unsigned rounds);

#endif
