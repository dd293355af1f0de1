# IKD on COCO: SimpleBaseline with ResNet-50 teaches the small ResNet-18 by its heatmaps (logits), the feature map of its
# backbone and the affinities between its keypoints' heatmaps (structure). IKD's full text is not public: the terms are one
# reading of its abstract, and the weights are ours. With them the gradients at the student's feature map are, in shares of
# the labels', at the first step and after 600: logit 0.85 and 0.78, feature 2.3 and 0.37, structure 0.13 and 0.98 (measured
# on 86 instances of COCO, student and ResNet-50 without ImageNet weights, the labels' heatmaps with noise for the teacher's).
_base_ = ['td-hm_res18-small_8xb64-210e_coco-256x192.py']

model = dict(
    type='PoseDistiller',
    teacher='mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
    teacher_checkpoint='https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_res50_8xb64-210e_coco-256x192-04af38ce_20220923.pth',
    distill_losses=dict(
        # as much as the labels: but for a common factor, FPD's mix with a = 0.5
        loss_logit=dict(type='HeatmapMSELoss', use_target_weight=True, loss_weight=1.0),
        loss_feature=dict(
            type='FeatureMSELoss', student_channels=512, teacher_channels=2048, reduction='mean', loss_weight=2e-3),
        loss_structure=dict(type='JointAffinityLoss', loss_weight=3e-3)))
