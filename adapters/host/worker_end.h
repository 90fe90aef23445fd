/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a worker whose archiver's lease ends. Inside the worker. */
#ifndef ADAPTERS_HOST_WORKER_END_H
#define ADAPTERS_HOST_WORKER_END_H

/* Watches the moment that the archiver keeps putting off at CHILD_END; then kills the worker with
 * everything it started, whatever its module is doing. Another archiver may have the batch soon
 * after. Does nothing when the moment never comes. Ends the process when it can't watch. */
void worker_end_watch(void);

#endif
