//! The course labs: a student writes a chapter that comes after the whole book, and the machine says what it is worth.
//!
//! [`course`] knows the labs and [`lab`] what stands in one of them; [`progress`] remembers what a student has reached. Grading is a
//! chain of small steps, each usable alone: [`system`] makes files of the book and a chapter and builds them, [`boot`] runs
//! the lab's tests on that in the VM, [`chapter`] reads what the student wrote, [`score`] turns all that into points,
//! [`report`] shows them. [`grade`] is the chain, and [`prove`] tries it on what the course itself says is right and wrong.
//!
//! [`class`] grades all that a class has handed in.
//!
//! Whatever runs beside this program is started by [`job`], which ends it together with all that it started.

pub mod boot;
pub mod chapter;
pub mod class;
pub mod course;
pub mod grade;
pub mod hints;
pub mod job;
pub mod lab;
pub mod progress;
pub mod prove;
pub mod report;
pub mod score;
pub mod system;
pub mod trouble;
