// SPDX-License-Identifier: GPL-2.0
/*
 * For the tests: reads from a file while some MSRs of this CPU hold other values than Linux gave them. KVM leaves a CPU
 * so between a visit to its guest and the thread's return to user mode. Number 0 is CR4, which is only looked at.
 *
 * write() to /dev/lender takes a struct request. After the read the values that are in the MSRs are put into it, and whatever
 * happens, Linux's own are back before any user code runs on this CPU.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/user-return-notifier.h>
#include <asm/msr.h>

#define MOST 8

struct request {
	u64 fd;
	u64 count;
	/* Which bits to keep and which to set. Answered: what was set, and what is there after the read. */
	struct {
		u64 number;
		u64 keep;
		u64 value;
	} registers[MOST];
	/* What read() answered. */
	s64 answer;
	char text[64];
};

struct lent {
	struct user_return_notifier notifier;
	u64 count;
	u32 numbers[MOST];
	u64 own[MOST];
	bool returned;
};

static u64 read_register(u32 number)
{
	u64 value;

	if (!number)
		return native_read_cr4();
	rdmsrq(number, value);
	return value;
}

static void write_register(u32 number, u64 value)
{
	if (number)
		wrmsrq(number, value);
}

static void put_back(struct user_return_notifier *notifier)
{
	struct lent *lent = container_of(notifier, struct lent, notifier);

	for (u64 i = 0; i < lent->count; i++)
		write_register(lent->numbers[i], lent->own[i]);
	lent->returned = true;
	user_return_notifier_unregister(notifier);
}

static ssize_t lend(struct file *file, const char __user *buffer, size_t size, loff_t *at)
{
	struct lent lent = { .notifier.on_user_return = put_back };
	struct request request;
	unsigned long flags;
	struct file *target;
	loff_t nowhere = 0;
	bool returned;

	if (size != sizeof(request) || copy_from_user(&request, buffer, size) || request.count > MOST)
		return -EINVAL;
	target = fget(request.fd);
	if (!target)
		return -EBADF;

	/* The caller stays on its CPU. */
	local_irq_save(flags);
	lent.count = request.count;
	for (u64 i = 0; i < lent.count; i++) {
		lent.numbers[i] = request.registers[i].number;
		lent.own[i] = read_register(lent.numbers[i]);
	}
	for (u64 i = 0; i < lent.count; i++) {
		request.registers[i].keep &= lent.own[i];
		request.registers[i].keep |= request.registers[i].value;
		write_register(lent.numbers[i], request.registers[i].keep);
	}
	user_return_notifier_register(&lent.notifier);
	local_irq_restore(flags);

	request.answer = kernel_read(target, request.text, sizeof(request.text), &nowhere);

	local_irq_save(flags);
	returned = lent.returned;
	if (!returned) {
		for (u64 i = 0; i < lent.count; i++)
			request.registers[i].value = read_register(lent.numbers[i]);
		put_back(&lent.notifier);
	}
	local_irq_restore(flags);
	fput(target);
	/* Another thread has run here meanwhile, and its return to user mode has put everything back. */
	if (returned)
		return -EAGAIN;
	return copy_to_user((void __user *)buffer, &request, size) ? -EFAULT : size;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.write = lend,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "lender",
	.fops = &operations,
	.mode = 0600,
};
module_misc_device(device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("For tests: a CPU whose MSRs are not what Linux thinks");
