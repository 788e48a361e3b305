/* Keeps what weft logs, for tests that look at it. Of the process. */
#ifndef WEFT_TESTS_LOG_KEEPER_H
#define WEFT_TESTS_LOG_KEEPER_H

void log_keep(void);                  /* from here on, and forgets what there was */
unsigned log_count(const char *part); /* lines that contain it */
void log_await(const char *part, unsigned count);
void log_last(char *buffer, unsigned size); /* the latest line */

#endif
